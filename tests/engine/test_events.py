"""Events and traces: what is written comes back, and what is broken is named."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hogwild.engine.events import (
    EVENT_TYPES,
    FINISH_REASONS,
    SOURCES,
    AnswerEvent,
    BudgetEvent,
    Event,
    FinishEvent,
    StartEvent,
    StepEvent,
    TokenEvent,
)
from hogwild.engine.trace import TraceError, TraceWriter, read_trace
from hogwild.errors import UnknownNameError

EXAMPLE = [
    StartEvent(
        protocol="collaboration", problem="1 + 1", workers=["Alice", "Bob"], settings={"layout": "combined"}
    ),
    TokenEvent(worker="Alice", token=7, text="é\n\n", source="inserted", forward=1, time=0.25),
    StepEvent(worker="Alice", index=1, text="Two.", forward=3, time=0.5),
    AnswerEvent(worker="Bob", text="2", forward=4, time=0.75),
    FinishEvent(reason="answer", forwards=4, tokens=8, seconds=0.8, forward=4, time=0.8),
    BudgetEvent(budget=2, answer=None, forwards=2, forward=4, time=0.8),
    BudgetEvent(budget=8, answer="2", given=True, forwards=4, forward=4, time=0.8),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
VALUES = {
    "str": st.text(),
    "str | None": st.none() | st.text(),
    "bool": st.booleans(),
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "list[str]": st.lists(st.text(), max_size=4),
    "dict[str, Any]": st.dictionaries(st.text(), json_values, max_size=3),
}


@st.composite
def events(draw):
    cls = draw(st.sampled_from(sorted(EVENT_TYPES.values(), key=lambda c: c.type)))
    values = {f.name: draw(VALUES[f.type]) for f in dataclasses.fields(cls)}
    if cls is TokenEvent:
        values["source"] = draw(st.sampled_from(SOURCES))
    if cls is FinishEvent:
        values["reason"] = draw(st.sampled_from(FINISH_REASONS))
    return cls(**values)


@given(events())
def test_json_round_trip(event):
    line = event.to_json()
    assert "\n" not in line
    assert Event.from_json(line) == event
    assert json.loads(line)["type"] == event.type


def test_events_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXAMPLE[1].text = "x"


def test_unknown_type_lists_what_exists():
    with pytest.raises(UnknownNameError, match=r"unknown event type 'tokn'.*token"):
        Event.from_dict({"type": "tokn"})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"worker": "Alice"}, "needs a 'type'"),
        ({"type": "step", "worker": "Alice"}, r"missing fields \['index', 'text'\]"),
        ({"type": "mode", "mode": "x", "moods": 1}, r"unknown fields \['moods'\]"),
    ],
)
def test_wrong_fields_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Event.from_dict(values)


@pytest.mark.parametrize(
    "event, field, value, expected",
    [
        (EXAMPLE[1], "time", "x", "a finite number"),
        (EXAMPLE[1], "time", True, "a finite number"),
        (EXAMPLE[1], "time", float("nan"), "a finite number"),
        (EXAMPLE[1], "time", 10**400, "a finite number"),
        (EXAMPLE[1], "forward", 1.5, "an integer"),
        (EXAMPLE[1], "text", None, "text"),
        (EXAMPLE[1], "worker", ["Alice"], "text"),
        (EXAMPLE[1], "token", True, "an integer"),
        (EXAMPLE[5], "answer", 2, "text or null"),
        (EXAMPLE[5], "given", 1, "true or false"),
        (EXAMPLE[0], "workers", "Alice", "a list of texts"),
        (EXAMPLE[0], "workers", ["Alice", 1], "a list of texts"),
        (EXAMPLE[0], "settings", [], "an object"),
        (EXAMPLE[4], "reason", {}, "text"),
    ],
)
def test_fields_of_the_wrong_type_are_named(event, field, value, expected):
    with pytest.raises(TypeError, match=f"^event '{event.type}': {field}: expected {expected}, got "):
        Event.from_dict({**event.to_dict(), field: value})


def test_wrong_source_and_reason():
    with pytest.raises(UnknownNameError, match="source of a token 'guessed'"):
        TokenEvent(worker="Alice", token=1, source="guessed")
    with pytest.raises(UnknownNameError, match="finish reason 'bored'"):
        FinishEvent(reason="bored")


def test_trace_replays_a_run(tmp_path):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as trace:
        for event in EXAMPLE:
            trace.write(event)
    assert list(read_trace(path)) == EXAMPLE
    with pytest.raises(ValueError, match="closed"):
        trace.write(EXAMPLE[0])


def test_trace_is_flushed_per_event(tmp_path):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as trace:
        for count, event in enumerate(EXAMPLE, start=1):
            trace.write(event)
            assert list(read_trace(path)) == EXAMPLE[:count]


@pytest.mark.parametrize(
    "broken, message",
    [
        ('{"type": "step", "wor', "line 3: not an event"),
        ("[]", "line 3: not an event: an event is a JSON object, got list"),
        ('{"type": "nothing"}', "line 3: not an event: unknown event type 'nothing'"),
        ("", "line 3: not an event"),
        ("[" * 100_000, "line 3: not an event"),
        (
            '{"type": "mode", "mode": null}',
            "line 3: not an event: event 'mode': mode: expected text, got None",
        ),
    ],
)
def test_broken_line_is_named_after_the_good_ones(tmp_path, broken, message):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as trace:
        trace.write(EXAMPLE[0])
    path.write_text(path.read_text() + broken + "\n" + EXAMPLE[1].to_json() + "\n")
    reader = read_trace(path)
    assert next(reader) == EXAMPLE[0]
    with pytest.raises(TraceError, match=message):
        next(reader)


def test_a_trace_that_ends_within_a_character(tmp_path):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as trace:
        trace.write(EXAMPLE[0])
    path.write_bytes(path.read_bytes() + b'{"type": "token", "worker": "Al\xc3')
    reader = read_trace(path)
    assert next(reader) == EXAMPLE[0]
    with pytest.raises(TraceError, match=r"line 3: not an event: .*utf-8"):
        next(reader)


@pytest.mark.parametrize("text", ["", "hello\n", '{"type": "start"}\n', "[1]\n"])
def test_not_a_trace(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(TraceError, match=r"notes\.txt, line 1: not a trace"):
        list(read_trace(path))


def test_trace_of_another_version(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"format": "hogwild-trace", "version": 99}\n')
    with pytest.raises(TraceError, match="version 99 of the trace format; this program reads version 1"):
        list(read_trace(path))


def test_stamped_is_a_copy_that_differs_in_forward_and_time_only():
    event = StartEvent(protocol="p", workers=["a"])
    stamped = event.stamped(3, 0.5)
    assert stamped == dataclasses.replace(event, forward=3, time=0.5)
    assert (event.forward, event.time) == (0, 0.0)
