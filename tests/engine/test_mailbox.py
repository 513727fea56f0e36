"""Events between threads and event loops: all of them, in order, no more of them than the limit says."""

import asyncio
import os
import signal
import threading
import time

import pytest

from hogwild.engine.mailbox import Mailbox, _sleep
from hogwild.engine.turns import Turns

SOON = 60


def read_all(mailbox, into):
    while (item := mailbox.get()) is not None:
        into.append(item)


def test_all_in_order_to_a_reader_in_another_thread():
    mailbox, got = Mailbox(), []
    reader = threading.Thread(target=read_all, args=(mailbox, got))
    reader.start()
    for number in range(1, 200, 2):
        mailbox.put([number, number + 1])
    mailbox.end()
    reader.join(SOON)
    assert got == list(range(1, 201)) and mailbox.ended and mailbox.get() is None


def test_full_until_half_is_read():
    room = []
    mailbox = Mailbox(4, lambda: room.append(True))
    mailbox.put([1, 2, 3])
    assert not mailbox.full
    mailbox.put([4, 5])
    assert mailbox.full
    assert [mailbox.get() for _ in range(2)] == [1, 2] and mailbox.full and not room
    assert mailbox.get() == 3 and not mailbox.full and room == [True]
    assert mailbox.take_all() == [4, 5] and room == [True] and mailbox.dropped == 0


def test_who_waits_for_the_end_only_holds_nobody_up():
    mailbox = Mailbox(4)
    mailbox.put(range(1, 7))
    assert mailbox.full and mailbox.join(0.01) is False
    assert not mailbox.full and mailbox.dropped == 4
    waiter = threading.Thread(target=mailbox.join)
    waiter.start()
    while not mailbox._joining:
        time.sleep(0.001)
    for number in range(7, 30):
        mailbox.put([number])
        assert not mailbox.full
    mailbox.end()
    waiter.join(SOON)
    left = mailbox.take_all()
    assert left == list(range(30 - len(left), 30)) and mailbox.dropped == 29 - len(left)


def test_nothing_is_dropped_under_a_reader():
    mailbox = Mailbox(4)
    mailbox.put([1])
    assert mailbox.get() == 1
    mailbox.put([2, 3, 4, 5])
    assert mailbox.join(0.01) is False
    assert mailbox.full and mailbox.dropped == 0


def test_readers_in_event_loops():
    async def read(mailbox, into):
        while (item := await mailbox.get_async()) is not None:
            into.append(item)

    async def main():
        mailbox, first, second = Mailbox(), [], []
        tasks = [asyncio.create_task(read(mailbox, into)) for into in (first, second)]
        impatient = asyncio.create_task(mailbox.get_async())
        await asyncio.sleep(0)
        impatient.cancel()
        sender = threading.Thread(target=lambda: [mailbox.put([n]) for n in range(1, 101)] + [mailbox.end()])
        sender.start()
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)
        await mailbox.join_async()
        sender.join()
        assert sorted(first + second) == list(range(1, 101))
        assert first == sorted(first) and second == sorted(second) and not mailbox._sleepers

    asyncio.run(main())


def test_an_event_loop_that_is_gone_disturbs_nobody():
    mailbox = Mailbox()

    async def leave():
        asyncio.get_running_loop().set_debug(False)
        mailbox._sleepers.append(_sleep())

    asyncio.run(leave())
    mailbox.put([1])
    assert mailbox.get() == 1


def test_turns_go_by_arrival_and_may_be_nested():
    turns, order, threads = Turns(), [], []

    def take(number):
        with turns, turns:
            order.append(number)

    with turns:
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while len(turns._queue) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(SOON)
    assert order == [0, 1, 2, 3, 4]
    with turns:
        pass


def test_a_busy_thread_lets_others_have_their_turn():
    turns, done = Turns(), threading.Event()

    def busy():
        while not done.is_set():
            with turns:
                time.sleep(0.001)

    thread = threading.Thread(target=busy)
    thread.start()
    began = time.monotonic()
    for _ in range(20):
        with turns:
            pass
    done.set()
    thread.join(SOON)
    assert time.monotonic() - began < SOON


def test_ctrl_c_while_waiting_gives_the_place_up():
    turns, held, done = Turns(), threading.Event(), threading.Event()

    def hold():
        with turns:
            held.set()
            while not turns._queue:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(SOON)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(SOON)
    with pytest.raises(KeyboardInterrupt), turns:
        raise AssertionError("not its turn")
    assert not turns._queue
    done.set()
    thread.join(SOON)
    with turns:
        pass


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_wait_with_a_limit(timeout):
    mailbox = Mailbox()
    assert mailbox.join(timeout) is False
    mailbox.end()
    assert mailbox.join(timeout) is True


@pytest.mark.parametrize("timeout", [float("inf"), 1e20])
def test_waiting_longer_than_any_clock(timeout):
    mailbox = Mailbox()
    threading.Timer(0.05, mailbox.end).start()
    assert mailbox.join(timeout)
