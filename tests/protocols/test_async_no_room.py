"""Where there is no room for a question it is not asked, and the run is what it would be without it."""

from __future__ import annotations

import pytest
import torch

from engine.tiny import TOKENIZER
from fakes import ScriptedEngine
from hogwild.engine.events import ProbeEvent
from hogwild.engine.feed import Result
from hogwild.engine.graphs import GraphRunner
from hogwild.engine.runner import EagerRunner
from hogwild.engine.session import Session
from hogwild.errors import ContextLengthError, PoolExhausted
from hogwild.protocols.async_reasoning import AsyncReasoningProtocol, Safety, make_policy
from protocols.test_async_engine import PROMPTS, sampled
from protocols.test_async_traceless import STOPS, make_engine

# Of the engine, of the protocol, and what ends the run then.
LIMITS = {
    "positions": ({"max_length": 230}, {}, ContextLengthError),
    "length": ({}, {"max_length": 230}, ContextLengthError),
    "pages": ({"max_tokens": 16 * 17}, {}, PoolExhausted),
}
SILENT = {"longest_silence": None}
# Who asks to the end, answered by margins out of reach; and for how long the writer is silent.
ASKING = {
    "probe": (make_policy("probe", every=3, margin=1e9, **SILENT), None, 10_000),
    "probe, alone": (make_policy("probe", every=3, margin=1e9, ride="never", **SILENT), None, 10_000),
    "entropy": (make_policy("entropy", every=1, threshold=1e9, hysteresis=1e9, **SILENT), None, 10_000),
    "safety": ("always-on", Safety(hold=4, every=3, margin=-1e9), 4),
}


@pytest.fixture
def left_out(monkeypatch):
    """Grows by one each time that something was not asked."""
    count, leave_out = [], Session.leave_out_guests

    def counting(session):
        count.extend([True] * (left := leave_out(session)))
        return left

    monkeypatch.setattr(Session, "leave_out_guests", counting)
    return count


def make_protocol(engine, policy, safety=None, **options):
    options = {"prompts": PROMPTS, "max_forwards": 400, "temperature": 1.1, "seed": 3, **options}
    return engine.thinking("add 2 and 3", policy=policy, safety=safety, forbidden_tokens=STOPS, **options)


def follow(engine, policy, safety=None, by_hand=False, **options):
    """Events of a run to its end, or to a full pool, and what ended it."""
    protocol, events = make_protocol(engine, policy, safety, **options), []
    try:
        if not by_hand:
            for event in engine.stream(protocol):
                events.append(event)
            return events, None
        with engine.open(protocol) as session:
            while not session.finished:
                events += [event for _, told in engine.forward() for event in told]
            return events, session.error
    except (PoolExhausted, ContextLengthError) as error:
        return events, error


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    ("runner", "by_hand"), [(EagerRunner, False), (GraphRunner, False), (EagerRunner, True)]
)
@pytest.mark.parametrize("who", ASKING)
def test_a_run_ends_where_it_would_without_questions(left_out, who, runner, by_hand, limit):
    policy, safety, think = ASKING[who]
    room, options, error = LIMITS[limit]

    def make():
        return make_engine("toy", torch.float32, runner, page_size=16, **room)

    told, ended = follow(make(), policy, safety, by_hand, **options)
    assert left_out and any(isinstance(event, ProbeEvent) for event in told)
    plain = make_policy("fixed-ratio", think=think, write=10_000, **SILENT)
    expected, as_without = follow(make(), plain, by_hand=by_hand, **options)
    assert isinstance(ended, error) and str(ended) == str(as_without)
    assert sampled(told) == sampled(expected) and len(sampled(told)) > 30


class NoRoom(ScriptedEngine):
    """Leaves out every guest."""

    def _result(self, feed):
        return Result(feed.worker, left_out=True) if feed.guest else super()._result(feed)


@pytest.mark.parametrize("undecided", ["answer", "decline"])
@pytest.mark.parametrize("policy", ["no-thinking", "probe", "always-on"])
def test_a_request_that_cannot_be_checked_is_undecided(policy, undecided):
    safety = Safety(hold=4, undecided=undecided)
    protocol = AsyncReasoningProtocol(
        "add", TOKENIZER, policy, prompts=PROMPTS, safety=safety, max_forwards=20
    )
    word = TOKENIZER.encode("b")[0]
    engine = NoRoom(protocol, lambda feed, view: word)
    while not protocol.finished:
        engine.forward()
    assert not any(isinstance(event, ProbeEvent) for event in engine.events)
    noted = PROMPTS.refusal_note in TOKENIZER.decode(protocol._streams.thinker.tokens)
    assert noted == (undecided == "decline")
    assert bool(protocol.answer) == (policy != "probe" or undecided == "decline")
    assert protocol.finish_reason == "max_forwards"
