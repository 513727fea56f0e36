"""What happens to sessions in the background when somebody goes away: clients, handles, engines, the interpreter."""

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from background import SOON, Endless, until
from tiny import PROMPT, Writers, make_engine, make_model, undisturbed, writers

from hogwild.engine.core import EngineCore
from hogwild.engine.turns import turns_of
from hogwild.errors import HogwildError


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def engine(model):
    with make_engine(model) as engine:
        yield engine


def test_cancel_frees_the_pages_and_leaves_the_others(engine):
    handles = [engine.submit(Endless()) for _ in range(3)]
    fine = engine.submit(writers(40))
    until(lambda: all(handle.protocol.said["w0"] for handle in handles))
    for handle in handles:
        handle.cancel()
        handle.cancel()
    assert [handle.result(SOON).reason for handle in handles] == ["cancelled"] * 3
    assert fine.result(SOON).reason == "max_forwards"
    assert fine.protocol.said == undisturbed(lambda: writers(40))
    assert engine.pool.used_pages == 0


def test_a_handle_that_nobody_holds_cancels_its_session(engine):
    protocol = Endless()
    handle = engine.submit(protocol)
    until(lambda: protocol.said["w0"])
    assert engine.pool.used_pages
    del handle
    gc.collect()
    until(lambda: engine.pool.used_pages == 0)


class Held:
    """An object in a cycle with a stream: the garbage collector alone finds them."""

    def __init__(self, stream):
        self.stream, self.me = stream, self
        next(stream)


@pytest.mark.parametrize("submitted", [False, True])
def test_a_stream_that_the_collector_finds_waits_for_nobody(engine, submitted):
    """It may run in a thread that holds a lock for which whoever runs a forward waits."""
    if submitted:
        beside = engine.submit(Endless())
        until(lambda: beside.protocol.said["w0"])
    protocol = Endless()
    held = Held(engine.stream(protocol))
    lock, waits, taken = threading.Lock(), threading.Event(), threading.Event()

    def want_the_lock():
        with engine._turns:  # as in a forward
            waits.set()
            if lock.acquire(timeout=SOON):
                taken.set()

    other = threading.Thread(target=want_the_lock)
    with lock:
        other.start()
        assert waits.wait(SOON)
        del held
        gc.collect()
    other.join()
    assert taken.is_set()
    if submitted:
        beside.cancel()
        assert beside.result(SOON).reason == "cancelled"
    else:
        for _ in engine.stream(writers(2)):
            pass
    until(lambda: engine.pool.used_pages == 0)


def test_an_engine_that_the_collector_finds_waits_for_nobody(model):
    engine = make_engine(model)
    protocol = Endless()
    engine.handle = engine.submit(protocol)
    until(lambda: protocol.said["w0"])
    pool, engine.me = engine.pool, engine
    collected, waits = threading.Event(), threading.Event()
    early = []

    def keep_the_turn():  # for which the engine's thread waits
        with turns_of(model):
            waits.set()
            early.append(collected.wait(SOON))

    other = threading.Thread(target=keep_the_turn)
    other.start()
    assert waits.wait(SOON)
    thread = engine._service._thread
    del engine
    gc.collect()
    collected.set()
    other.join()
    assert early == [True]
    until(lambda: not thread.is_alive() and pool.used_pages == 0)


def test_a_client_that_is_cancelled_in_its_event_loop(engine):
    protocol = Endless()

    async def client():
        async with engine.submit(protocol) as handle:
            async for _ in handle:
                pass

    async def main():
        task = asyncio.create_task(client())
        while not protocol.said["w0"]:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), SOON))
    until(lambda: engine.pool.used_pages == 0)


def test_an_error_that_was_raised_keeps_nothing_alive(model):
    class Fails(Writers):
        def receive(self, results):
            raise ValueError("the protocol fails")

    def read():
        engine = make_engine(model)
        with pytest.raises(ValueError, match="the protocol fails"):
            for _ in engine.submit(Fails(PROMPT)):
                pass
        return weakref.ref(engine)

    engine = read()
    until(lambda: gc.collect() >= 0 and engine() is None)  # its thread may still hold the session


def test_closing_ends_everything(model):
    before = set(threading.enumerate())  # other tests leave their engines to the collector
    engine = make_engine(model)
    handles = [engine.submit(Endless()) for _ in range(2)]
    opened = engine.open(writers())
    stream = engine.stream(writers())
    assert next(stream).type == "start"
    until(lambda: handles[0].protocol.said["w0"])
    engine.close()
    engine.close()
    assert [handle.result(SOON).reason for handle in handles] == ["cancelled"] * 2
    assert opened.closed and list(stream)[-1].reason == "cancelled"
    assert engine.pool.used_pages == 0
    assert not [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]
    for use in (engine.submit, engine.open, lambda protocol: list(engine.stream(protocol))):
        with pytest.raises(HogwildError, match="the engine is closed"):
            use(writers())


@pytest.mark.parametrize("use", ["open", "submit", "stream"])
def test_closing_while_a_session_begins(model, use):
    engine = make_engine(model)

    class Slow(Endless):
        def begin(self, store):
            events = super().begin(store)
            engine.close()  # by another thread, say
            return events

    if use == "stream":
        assert list(engine.stream(Slow()))[-1].reason == "cancelled"
    elif use == "submit":
        assert engine.submit(Slow()).result(SOON).reason == "cancelled"
    else:
        with pytest.raises(HogwildError, match="the engine is closed"):
            engine.open(Slow())
    assert engine.pool.used_pages == 0 and not engine._sessions and not engine._scheduler._jobs


def test_a_session_that_is_opened_by_another_thread_is_not_forgotten(engine):
    threads = []

    class Opened(list):
        """The engine's list, with somebody who opens a session while a forward looks through it."""

        def __iter__(self):
            yield from list(super().__iter__())
            if not threads:
                threads.append(threading.Thread(target=engine.open, args=(writers(),)))
                threads[0].start()
                threads[0].join(0.05)

    engine.open(writers())
    engine._sessions = Opened(engine._sessions)
    engine.forward()
    threads[0].join()
    assert len(engine._sessions) == 2


def test_a_ctrl_c_leaves_the_engine_open_to_others(engine):
    """At whatever line of the engine's own it arrives."""
    engine.open(writers(count=10**6))
    for line in range(1, 12):
        count = itertools.count(1)

        def trace(frame, event, argument, line=line, count=count):
            if frame.f_code not in (EngineCore.forward.__code__, EngineCore._opened.__code__):
                return None
            if event == "line" and next(count) == line:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
            return trace

        sys.settrace(trace)
        with contextlib.suppress(KeyboardInterrupt):
            engine.forward()
        sys.settrace(None)
        assert engine._opening.acquire(blocking=False), line
        engine._opening.release()


def test_an_engine_that_is_collected_in_a_forward_of_another_one(model):
    protocol = Endless()
    handle = make_engine(model).submit(protocol)
    until(lambda: protocol.said["w0"])
    service, left = handle._service, threading.Event()

    def work(held):
        with turns_of(model):
            held.clear()
            gc.collect()
        left.set()

    held = [handle]
    del handle
    worker = threading.Thread(target=work, args=(held,), daemon=True)
    worker.start()
    assert left.wait(SOON)
    service._thread.join(SOON)
    assert not service._thread.is_alive()


def test_an_engine_that_nobody_holds_ends_its_thread(model):
    protocol = Endless()
    handle = make_engine(model).submit(protocol)
    until(lambda: protocol.said["w0"])  # the handle keeps the engine
    thread = handle._service._thread
    del handle
    gc.collect()
    thread.join(SOON)
    assert not thread.is_alive()
    said = len(protocol.said["w0"])
    time.sleep(0.02)
    assert len(protocol.said["w0"]) == said


@pytest.mark.parametrize("ending", ["", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_the_interpreter_ends_while_sessions_run(ending):
    program = f"""
import sys
sys.path[:0] = {[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]!r}
from background import Endless
from tiny import make_engine
engine = make_engine()
handle = engine.submit(Endless())
iterator = iter(handle)
for _ in range(20):
    next(iterator)
print("running", flush=True)
{ending}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SOON)
    assert "running" in done.stdout
    assert "KeyboardInterrupt" in done.stderr if "SIGINT" in ending else done.stderr == ""
    assert bool(done.returncode) == bool(ending)
