"""Asynchronous reasoning in the background: messages wake the engine, also where blocks are parked."""

from __future__ import annotations

import time

import pytest

from hogwild.cache import Parking
from hogwild.engine.events import AnswerEvent, FinishEvent, InputEvent, TokenEvent
from hogwild.errors import HogwildError, SessionFinishedError
from protocols.test_async_engine import PROMPTS, STOCHASTIC, make_engine, sampled

SOON = 60  # seconds; generous, since nothing below needs one


def protocol(engine, forwards=24, **options):
    return engine.thinking(
        "add 2 and 3", policy="always-on", prompts=PROMPTS, max_forwards=forwards, **STOCHASTIC, **options
    )


def until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def test_a_push_wakes_a_session_that_waits_for_its_next_turn():
    with make_engine() as engine:
        run = protocol(engine, turns=True)
        handle = engine.submit(run)
        until(lambda: run.waiting)
        run.push("and 4")
        until(lambda: run.waiting and not run.has_messages)
        run.finish()
        events = list(handle)
        assert isinstance(events[-1], FinishEvent)
        assert [e.text for e in events if isinstance(e, InputEvent)] == ["and 4"]
        assert len([e for e in events if isinstance(e, AnswerEvent)]) == 2
        assert engine.pool.used_pages == 0


def test_in_the_background_it_says_what_it_says_by_itself():
    with make_engine() as engine:
        alone = sampled(engine.stream(protocol(engine)))
        handles = [engine.submit(protocol(engine)) for _ in range(3)]
        for handle in handles:
            assert sampled(handle) == alone


@pytest.mark.parametrize("to", ["input", "writer"])
def test_text_for_parked_blocks_brings_them_back_first(monkeypatch, to):
    """A pool with room for one session: who waits is parked for the other, and nothing is lost."""
    parked, park = [], Parking.park

    def counting(self, blocks):
        parked.append([block.name for block in blocks])
        return park(self, blocks)

    monkeypatch.setattr(Parking, "park", counting)

    def conversation(engine, meanwhile):
        run = protocol(engine, turns=True)
        events = []
        for event in (handle := engine.submit(run)):
            events.append(event)
            if isinstance(event, AnswerEvent) and not meanwhile:
                run.finish()
            elif isinstance(event, AnswerEvent):
                until(lambda: run.waiting)
                meanwhile.pop()(engine)
                run.push("and 4", to="input")
                if to == "writer":
                    run.push(" hence", to="writer")
        assert handle.error is None
        return [(e.worker, e.token, e.source) for e in events if isinstance(e, TokenEvent)]

    with make_engine() as engine:
        expected = conversation(engine, [lambda engine: None])
        assert not parked
    with make_engine(page_size=16, max_tokens=400) as engine:

        def another(engine):
            assert isinstance(engine.submit(protocol(engine, forwards=140)).result(SOON), FinishEvent)

        assert conversation(engine, [another]) == expected
        assert parked
        assert engine.pool.used_pages == 0


def test_a_session_that_was_cancelled_takes_no_text():
    with make_engine() as engine:
        run = protocol(engine, forwards=400)
        with engine.submit(run) as handle:
            next(iter(handle))
        assert handle.wait(SOON)
        with pytest.raises(SessionFinishedError):
            run.push("too late")


def test_a_second_run_of_a_protocol_leaves_the_first_alone():
    with make_engine() as engine:
        run = protocol(engine, turns=True)
        handle = engine.submit(run)
        with make_engine() as other, pytest.raises(HogwildError, match="runs once"):
            other.submit(run)
        until(lambda: run.waiting)
        run.push("and 4")
        run.finish()
        assert [e.text for e in handle if isinstance(e, InputEvent)] == ["and 4"]
