"""Sessions in the background: handles, threads, event loops, calls."""

import asyncio
import random
import sys
import threading
import time

import pytest
from background import SOON, Endless, Listener, until
from tiny import PROMPT, STOCHASTIC, Writers, drive, make_engine, make_model, undisturbed, writers

from hogwild.engine.events import FinishEvent, ModeEvent, StartEvent, TokenEvent
from hogwild.engine.mailbox import Mailbox
from hogwild.engine.service import Service
from hogwild.errors import HogwildError, PoolExhausted


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def engine(model):
    with make_engine(model) as engine:
        yield engine


# ------------------------------------------------------------------ events


def test_all_events_and_the_same_tokens(engine):
    protocol = writers(10, sampling=STOCHASTIC)
    handle = engine.submit(protocol, name="mine")
    events = list(handle)
    assert isinstance(events[0], StartEvent) and isinstance(events[-1], FinishEvent)
    assert [e.token for e in events if isinstance(e, TokenEvent) and e.worker == "w0"] == protocol.said["w0"]
    assert protocol.said == undisturbed(lambda: writers(10, sampling=STOCHASTIC))
    assert handle.finished and handle.state == "finished" and handle.error is None and handle.name == "mine"
    assert handle.result() == events[-1] and handle.wait(0) and list(handle) == []
    assert engine.pool.used_pages == 0


def test_readers_in_an_event_loop(engine):
    protocols = [writers(count, sampling=STOCHASTIC) for count in (5, 12, 20)]

    async def read(protocol):
        async with engine.submit(protocol, buffer=1) as handle:
            events = [event async for event in handle]
            assert (await handle) == events[-1]
        return [e.token for e in events if isinstance(e, TokenEvent) and e.worker == "w1"]

    async def main():
        return await asyncio.wait_for(asyncio.gather(*map(read, protocols)), SOON)

    assert asyncio.run(main()) == [protocol.said["w1"] for protocol in protocols]
    assert engine.pool.used_pages == 0


def test_what_fails_is_raised_after_the_last_event(engine):
    class Broken(Writers):
        def receive(self, results):
            raise ZeroDivisionError("oops")

    handle, fine = engine.submit(Broken(PROMPT)), engine.submit(writers())
    events = []
    with pytest.raises(ZeroDivisionError, match="oops"):
        for event in handle:
            events.append(event)
    assert events[-1].reason == "error" and isinstance(handle.error, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        handle.result()

    async def wait():
        with pytest.raises(ZeroDivisionError):
            await handle

    asyncio.run(wait())
    assert fine.result(SOON).reason == "max_forwards"
    assert fine.protocol.said == undisturbed(writers)


def test_a_slow_reader_pauses_its_own_session_only(engine):
    slow = engine.submit(Endless(), buffer=10)
    assert engine.submit(writers(60)).result(SOON).forwards >= 60
    assert 10 <= len(slow._mailbox._items) <= 12
    forwards = slow._job.session.forwards
    assert forwards <= 6
    events = iter(slow)
    got = [next(events) for _ in range(8)]
    until(lambda: slow._job.session.forwards > forwards)
    got += [next(events) for _ in range(100)]
    tokens = [event.token for event in got if isinstance(event, TokenEvent) and event.worker == "w0"]
    assert tokens == slow.protocol.said["w0"][: len(tokens)] and slow.dropped == 0
    slow.cancel()


def test_who_only_waits_for_the_end_gets_there(engine):
    handle = engine.submit(writers(60), buffer=5)
    finish = handle.result(SOON)
    assert finish.reason == "max_forwards" and finish.tokens == 120
    left = list(handle)
    assert left[-1] == finish and handle.dropped > 100 and len(left) + handle.dropped == 122


def test_a_limit_of_time(engine):
    handle = engine.submit(Endless())
    assert handle.wait(0.02) is False
    with pytest.raises(TimeoutError, match=r"session \d+: it has not ended after 0.02 seconds"):
        handle.result(0.02)
    assert not handle.finished
    handle.cancel()
    assert handle.result(SOON).reason == "cancelled"


# ------------------------------------------------------------------ calls from other threads


def test_calls_reach_a_running_protocol_between_its_feeds(engine):
    protocol = Endless()
    handle = engine.submit(protocol)
    until(lambda: protocol.said["w0"])

    def look(session):
        assert threading.current_thread().name == "hogwild-engine"
        assert session.protocol is protocol and session.between_feeds
        session.emit([ModeEvent(mode="seen")])
        return len(protocol.said["w0"]), session.blocks.length("prompt")

    first, length = handle.call(look).result(SOON)
    assert first >= 1 and length == len(PROMPT)
    assert any(isinstance(event, ModeEvent) for event, _ in zip(handle, range(10**4), strict=False))

    def stop(session):
        session.protocol.finish_reason = "answer"

    handle.call(stop)
    assert handle.result(SOON).reason == "answer"
    with pytest.raises(HogwildError, match="it has ended"):
        handle.call(look).result(SOON)


def test_an_error_in_a_call_is_its_callers(engine):
    handle = engine.submit(writers(30))
    with pytest.raises(ZeroDivisionError):
        handle.call(lambda session: 1 // 0).result(SOON)
    assert handle.result(SOON).reason == "max_forwards"
    assert handle.protocol.said == undisturbed(lambda: writers(30))


def test_a_protocol_that_waits_is_woken_by_a_call(engine):
    protocol = Listener()
    handle = engine.submit(protocol)
    until(lambda: len(protocol.said["w0"]) == 1)
    time.sleep(0.02)
    assert len(protocol.said["w0"]) == 1 and handle.state == "running"
    for number in range(5):
        said = len(protocol.said["w0"])
        handle.call(lambda session, n=number: session.protocol.heard.extend([n + 1, n + 2])).result(SOON)
        until(lambda said=said: len(protocol.said["w0"]) == said + 1)
    assert handle.call(lambda session: session.blocks.tokens("w0")).result(SOON)[1:] == [
        n + d for n in range(5) for d in (1, 2)
    ]


def test_what_many_threads_push_is_written_once_and_in_order(model):
    """On a pool that is too small for all, so that pushes also reach sessions that are parked."""
    with make_engine(model, page_size=16, max_tokens=16 * 30) as engine:
        handles = [engine.submit(Listener()) for _ in range(20)]
        pushed, turns = [[] for _ in handles], [threading.Lock() for _ in handles]
        errors = []

        def push(number):
            rng = random.Random(number)
            try:
                for _ in range(30):
                    index, tokens = (
                        rng.randrange(20),
                        [rng.randrange(3, 130) for _ in range(rng.randrange(1, 4))],
                    )
                    with turns[index]:  # so that the order is known
                        pushed[index] += tokens
                        future = handles[index].call(lambda s, t=tuple(tokens): s.protocol.heard.extend(t))
                    if rng.random() < 0.2:
                        future.result(SOON)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
        assert not errors
        for handle, tokens in zip(handles, pushed, strict=True):
            until(lambda h=handle: not h.call(lambda s: s.protocol.heard).result(SOON))
            assert handle.call(lambda s: s.blocks.tokens("w0")).result(SOON)[1:] == tokens
            handle.cancel()
            handle.wait(SOON)
        assert engine.pool.used_pages == 0


def test_calls_wait_for_the_end_of_a_long_prompt(model):
    """In the middle of feeds that take several forwards nobody may touch the blocks."""
    with make_engine(model, max_forward_tokens=4) as engine:
        protocol = Writers(PROMPT, [(5, 6), (11,)], count=10**3)
        handle = engine.submit(protocol)
        lengths = [handle.call(lambda s: s.blocks.length("prompt")) for _ in range(20)]
        until(lambda: protocol.said["w0"])
        lengths += [handle.call(lambda s: s.blocks.length("prompt")) for _ in range(3)]
        assert {future.result(SOON) for future in lengths} <= {0, len(PROMPT)}


class Talkative(Writers):
    """Tells 20 events when it begins with a text of several forwards."""

    def __init__(self):
        super().__init__(PROMPT, count=50)
        self.told = False

    def listen(self, *_):
        if self.told or len(self.said["w0"]) != 3:
            return []
        self.told, self._pending["w0"] = True, (7,) * 100
        return [TokenEvent(worker="w0", token=7, source="pushed")] * 20


def test_a_call_of_who_does_not_read(model):
    """The reader may be who calls, so what is half written is written."""
    with make_engine(model, max_forward_tokens=16) as engine:
        handle = engine.submit(Talkative(), buffer=8)
        until(lambda: handle._job.mailbox.full)
        assert handle.call(lambda s: s.blocks.length("w0")).result(SOON) > 100
        forwards = handle.call(lambda s: s.forwards).result(SOON)
        time.sleep(0.05)
        assert handle.call(lambda s: s.forwards).result(SOON) == forwards  # it still waits for its reader
        assert len(list(handle)) > 50


def test_a_call_that_takes_the_last_event(engine):
    handle, other = engine.submit(Endless()), engine.submit(writers(20))

    def end(session):
        session.close()
        session.take_events()

    handle.call(end).result(SOON)
    assert handle.wait(SOON) and handle.result().reason == "cancelled"
    assert other.result().reason == "max_forwards"


# ------------------------------------------------------------------ threads, and the other ways to run


def test_submitting_from_many_threads(engine):
    expected = undisturbed(lambda: writers(15, sampling=STOCHASTIC))
    said, errors = [], []

    def client():
        try:
            for _ in range(3):
                protocol = writers(15, sampling=STOCHASTIC)
                engine.submit(protocol).result(SOON)
                said.append(protocol.said)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert not errors and said == [expected] * 24
    assert engine.pool.used_pages == 0


def test_streams_sessions_by_hand_and_the_background_side_by_side(engine):
    expected = undisturbed(lambda: writers(30))
    background = engine.submit(Endless())
    until(lambda: background.protocol.said["w0"])
    streamed, opened = writers(30), writers(30)
    thread = threading.Thread(target=lambda: list(engine.stream(streamed)))
    thread.start()
    drive(engine, opened)
    runs = [writers(30), writers(30)]
    list(engine.run(runs))
    thread.join(SOON)
    assert [protocol.said for protocol in (streamed, opened, *runs)] == [expected] * 4
    assert not background.finished


def test_a_stream_beside_the_background_ends_whoever_is_quicker(model, monkeypatch):
    """Its reader may find the last event before the engine's thread has noted that the session is done."""
    put = Mailbox.put

    def slow(self, items):
        put(self, items)
        time.sleep(0.01)

    monkeypatch.setattr(Mailbox, "put", slow)
    with make_engine(model) as engine:
        handle = engine.submit(Endless())
        done = threading.Event()
        threading.Thread(target=lambda: (list(engine.stream(writers(2))), done.set()), daemon=True).start()
        assert done.wait(SOON)
        handle.cancel()


def test_two_threads_that_stream_without_the_background(model):
    engine = make_engine(model, page_size=16, max_tokens=16 * 14)
    protocols = [writers(30) for _ in range(4)]
    threads = [threading.Thread(target=lambda p=p: list(engine.stream(p))) for p in protocols]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert [protocol.said for protocol in protocols] == [undisturbed(lambda: writers(30))] * 4
    assert engine.pool.used_pages == 0 and not engine._service.running


def test_two_engines_on_one_model(model):
    """Forwards of a model take turns, whichever engine they are of."""
    with make_engine(model) as first, make_engine(model) as second:
        handles = [engine.submit(writers(40)) for engine in (first, second, first)]
        streamed = writers(40)
        list(make_engine(model).stream(streamed))
        for handle in handles:
            handle.result(SOON)
    assert [p.said for p in (streamed, *(h.protocol for h in handles))] == [
        undisturbed(lambda: writers(40))
    ] * 4


def test_an_error_of_the_model_ends_the_session_that_it_belongs_to(model, monkeypatch):
    with make_engine(model) as engine:
        run = engine.runner.run

        def failing(plan, rows):
            if any(view.blocks[0].tokens[:2] == [9, 9] for view in plan.views):
                raise MemoryError("no memory for this one")
            return run(plan, rows)

        monkeypatch.setattr(engine.runner, "run", failing)
        fine = [engine.submit(writers(20)) for _ in range(3)]
        bad = engine.submit(Writers([9, 9, *PROMPT], [(9,)], count=20))
        with pytest.raises(MemoryError, match="no memory for this one"):
            bad.result(SOON)
        for handle in fine:
            handle.result(SOON)
            assert handle.protocol.said == undisturbed(lambda: writers(20))
        assert engine.pool.used_pages == 0


def test_a_keyboard_interrupt_raised_by_a_protocol_ends_its_session(engine):
    class Interrupted(Writers):
        def receive(self, results):
            raise KeyboardInterrupt

    bad, fine = engine.submit(Interrupted(PROMPT)), engine.submit(writers())
    assert fine.result(SOON).reason == "max_forwards"
    with pytest.raises(KeyboardInterrupt):
        bad.result(SOON)


def test_a_prompt_that_never_fits(model):
    with make_engine(model, page_size=16, max_tokens=32) as engine:
        handle = engine.submit(writers())
        with pytest.raises(PoolExhausted):
            handle.result(SOON)
        assert engine.submit(Writers([3], [(5,)], count=5)).result(SOON).reason == "max_forwards"


@pytest.mark.parametrize("buffer", [0, -1])
def test_wrong_buffers(engine, buffer):
    with pytest.raises(ValueError, match="buffer: expected an integer >= 1"):
        engine.submit(writers(), buffer=buffer)


def test_a_protocol_that_cannot_start(engine):
    class Broken(Writers):
        def start(self, store):
            raise RuntimeError("cannot start")

    with pytest.raises(RuntimeError, match="cannot start"):
        engine.submit(Broken(PROMPT))


def test_a_finalizer_may_wake_the_thread_in_the_middle_of_waking_it():
    """Handles are collected at any moment, and then cancel their sessions."""
    service = Service(scheduler=None)

    def finalizer(frame, event, arg):
        service.wake()

    def work():
        sys.setprofile(finalizer)
        service.wake()
        sys.setprofile(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()


def test_nobody_waits_for_a_thread_that_is_about_to_end(engine):
    """What is added after its last look would wait for ever."""
    handle = engine.submit(writers())
    handle.result(SOON)
    service = engine._service
    assert service.running
    service._closing = True
    assert service._thread.is_alive() and not service.running
    service.wake()
