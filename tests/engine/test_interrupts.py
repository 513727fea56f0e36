"""Ctrl-C is held back where several objects change together, and nowhere else."""

import os
import signal
import threading

import pytest

from hogwild.engine.interrupts import defer_interrupts
from hogwild.engine.turns import Turns


def test_an_interrupt_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("inside")
        done.append("after")
    assert done == ["inside"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_inside_passes_and_the_handler_comes_back():
    with pytest.raises(ZeroDivisionError), defer_interrupts():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_are_called():
    caught = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        with defer_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            assert caught == []
        assert caught == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_nothing_to_hold_back():
    reached = []

    def work():
        with defer_interrupts():
            reached.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == [True]


class InterruptedLock:
    """A lock that a Ctrl-C finds taken."""

    def __init__(self):
        self.lock = threading.Lock()

    def __enter__(self):
        self.lock.acquire()
        signal.raise_signal(signal.SIGINT)

    def __exit__(self, *exc_info):
        self.lock.release()


def test_turns_that_were_not_entered_are_not_held():
    turns = Turns()
    mutex, turns._mutex = turns._mutex, InterruptedLock()
    with pytest.raises(KeyboardInterrupt):
        turns.__enter__()
    turns._mutex = mutex
    assert not turns.held
    entered = threading.Event()

    def work():
        with turns:
            entered.set()

    threading.Thread(target=work, daemon=True).start()
    assert entered.wait(60)
