"""Streams of a tokenizer whose tokens are bytes: whatever happens, no character is torn apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from streams import ROLES

from fakes import ScriptedEngine
from hogwild.engine.events import InputEvent, RollbackEvent, TokenEvent
from hogwild.protocols.async_reasoning import (
    AsyncReasoningProtocol,
    make_policy,
    protocol_state,
    restore_protocol,
)

END = 256


class ByteTokenizer:
    """A token is a byte, as all text is for some tokenizers, and rare text for most."""

    eos_token_id, all_special_tokens, all_special_ids = END, ["<end>"], [END]

    def encode(self, text, add_special_tokens=True):
        return list(text.encode())

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=False):
        return bytes(i for i in ids if i < END).decode(errors="replace")


TOKENIZER = ByteTokenizer()
PROMPTS = replace(ROLES, yes_words=("y",), no_words=("n",), end_think="", forbidden=())
THOUGHTS, ANSWER = "ö😀日本😀ß" * 9, "😀é日本語ñ" * 9


def start(policy="always-on", **options):
    options.setdefault("max_forwards", 400)
    protocol = AsyncReasoningProtocol("Q", TOKENIZER, policy, prompts=PROMPTS, **options)
    texts = {"thinker": THOUGHTS.encode(), "writer": ANSWER.encode()}

    def next_byte(feed, view):  # what was taken back is said anew
        said = protocol._streams.by_worker[feed.worker].said
        return texts[feed.worker][sum(one.source == "sampled" for one in said)]

    return ScriptedEngine(protocol, next_byte)


def forwards(engine, count):
    for _ in range(count):
        engine.forward()


def told(engine, worker):
    """A stream's text, as a reader of the events has it."""
    texts = []
    for event in engine.events:
        if isinstance(event, TokenEvent) and event.worker == worker:
            texts.append(event.text)
        elif isinstance(event, RollbackEvent) and event.worker == worker:
            del texts[-event.tokens :]
    return "".join(texts)


@pytest.mark.parametrize("to", ["input", "thinker", "writer"])
@pytest.mark.parametrize("place", range(12))
def test_a_push_waits_for_the_end_of_a_character(place, to):
    engine = start()
    forwards(engine, 1 + place)
    engine.protocol.push("<grüß 日>", to)
    forwards(engine, 4)  # a character has four tokens at most
    assert [event.text for event in engine.events if isinstance(event, InputEvent)] == ["<grüß 日>"]
    forwards(engine, 20)
    streams = engine.protocol._streams
    for stream in (streams.thinker, streams.writer):
        whole = TOKENIZER.decode(stream.tokens[: stream.whole])
        assert "\N{REPLACEMENT CHARACTER}" not in whole and told(engine, stream.worker) == whole
    answer = engine.protocol.answer
    assert ANSWER.startswith(answer.replace("<grüß 日>", "") if to == "writer" else answer)
    assert THOUGHTS.startswith(engine.protocol.thoughts.replace("<grüß 日>", ""))


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("heard", [None, 0, 1, 2, 99])
def test_an_interruption_takes_a_begun_character_back(place, heard):
    engine = start(hold_after_interrupt=3)
    forwards(engine, 1 + place)
    before = engine.protocol.answer
    engine.protocol.interrupt(heard)
    forwards(engine, 1)
    streams = engine.protocol._streams
    if before:
        kept = before if heard is None else before[:heard]
        assert engine.protocol.answer == kept and streams.writer.said[-1].source == "inserted"
        assert TOKENIZER.decode(streams.writer.tokens).endswith(f"A:\n\n{kept}[cut]")
    else:
        assert ANSWER.startswith(engine.protocol.answer)
    assert engine.store.tokens("answer") == streams.writer.tokens[: streams.writer.written]


def no_character_is_torn(engine):
    for stream in (engine.protocol._streams.thinker, engine.protocol._streams.writer):
        whole = TOKENIZER.decode(stream.tokens[: stream.whole])
        assert "\N{REPLACEMENT CHARACTER}" not in whole and told(engine, stream.worker) == whole


@pytest.mark.parametrize("write", range(1, 9))
def test_text_for_a_writer_that_pauses_in_a_character_waits_until_it_goes_on(write):
    engine = start(make_policy("fixed-ratio", think=3, write=write))
    forwards(engine, 1 + 3 + write)
    assert engine.protocol.mode == "thinker_only"
    engine.protocol.push("<grüß>", "writer")
    forwards(engine, 20)
    assert engine.protocol.answer.count("<grüß>") == 1
    assert ANSWER.startswith(engine.protocol.answer.replace("<grüß>", ""))
    no_character_is_torn(engine)


@pytest.mark.parametrize("place", range(12))
def test_what_the_thinker_is_told_tears_no_character(place):
    engine = start()
    forwards(engine, 5 + place)  # there is a first word
    engine.protocol.interrupt()
    forwards(engine, 12)
    assert engine.protocol.thoughts != "" and "[stop]" in told(engine, "thinker")
    no_character_is_torn(engine)


@pytest.mark.parametrize("limit", range(1, 9))
def test_thoughts_that_ended_in_a_character_are_opened_behind_the_last_whole_one(limit):
    engine = start(max_thoughts=limit)
    forwards(engine, 1 + limit + 2)
    engine.protocol.push("<grüß>")
    forwards(engine, 12)
    assert "[new]" in told(engine, "thinker")
    no_character_is_torn(engine)


@pytest.mark.parametrize("place", range(10))
def test_a_copy_goes_on_in_the_middle_of_a_character(place):
    engine = start(make_policy("fixed-ratio", think=2, write=3))
    forwards(engine, 1 + place)
    state = json.loads(json.dumps(protocol_state(engine.protocol)))
    twin = restore_protocol(state, TOKENIZER)
    twin.begin(engine.store)
    twin.resume()
    texts = {
        stream.worker: list(text.encode())[len([s for s in stream.said if s.source == "sampled"]) :]
        for stream, text in ((twin._streams.thinker, THOUGHTS), (twin._streams.writer, ANSWER))
    }
    again = ScriptedEngine.__new__(ScriptedEngine)
    vars(again).update(vars(engine), protocol=twin, _next=lambda feed, view: texts[feed.worker].pop(0))
    forwards(again, 30)
    assert THOUGHTS.startswith(twin.thoughts) and ANSWER.startswith(twin.answer)
    assert len(twin.thoughts) > 9 and len(twin.answer) > 4


def test_bytes_that_never_make_a_character_hold_nothing_up():
    engine = start()
    engine._next = lambda feed, view: 0x80
    forwards(engine, 9)
    engine.protocol.push("on", to="writer")
    forwards(engine, 1)
    assert [event.text for event in engine.events if isinstance(event, InputEvent)] == ["on"]
    engine.protocol.interrupt()
    forwards(engine, 1)
    assert engine.protocol.mode == "thinker_only"
