"""Asynchronous reasoning on a real engine with a tiny model: keys and values, copies, files, threads."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import json
import os
import string
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import hogwild
from engine.tiny import TOKENIZER, make_model
from hogwild.engine.events import AnswerEvent, FinishEvent, TokenEvent
from hogwild.errors import BlockError, HogwildError, PoolExhausted, SessionFinishedError, UnknownNameError
from hogwild.prompting import AsyncPrompts, StepRule
from hogwild.protocols.async_reasoning import POLICIES, Safety, make_policy
from hogwild.protocols.async_reasoning.policies import Ask, FixedRatioPolicy
from hogwild.protocols.async_reasoning.result import ThinkResult

PROMPTS = AsyncPrompts(
    thinker_prompt="You think about this: {problem}",
    writer_prompt="You write about this: {problem}",
    thinker_split=" (more)",
    writer_split=" (so far)",
    thoughts_opening=(" Thoughts:", "\n\n"),
    answer_opening=(" Answer:", "\n\n"),
    yes_words=("y",),
    no_words=("n",),
)
SHARED = dataclasses.replace(PROMPTS, writer_prompt="", input="{problem}", thinker_split="")
# paragraphs that a random model writes: they end at certain letters
RULE = StepRule(separator="a", sentence_ends=string.printable)
STOCHASTIC = {"temperature": 1.1, "top_k": 30, "repetition_penalty": 1.1, "seed": 4}


def make_engine(positions=2048, seed=1, dtype=torch.float32, **options):
    model = make_model(positions, seed).to(dtype)
    model.generation_config.eos_token_id = None
    return hogwild.Engine(model, TOKENIZER, **options)


def think(engine, policy="always-on", **options):
    options.setdefault("prompts", PROMPTS)
    options.setdefault("max_forwards", 40)
    return engine.think("add 2 and 3", policy=policy, **options)


def sampled(events):
    return [(e.worker, e.token) for e in events if isinstance(e, TokenEvent) and e.source == "sampled"]


def drawn(events):
    """What each stream sampled; copies tell one stream after the other what was said before them."""
    tokens = sampled(events)
    return [[token for worker, token in tokens if worker == who] for who in ("thinker", "writer")]


class Stepper:
    """A session that makes a forward when it is told to."""

    def __init__(self, engine, policy, **options):
        options = {"prompts": PROMPTS, "max_forwards": 40, **options}
        self.engine = engine
        self.session = engine.open(engine.thinking("add 2 and 3", policy=policy, **options))

    def forwards(self, count):
        return [
            event
            for _ in range(count)
            for _, events in self.engine.forward([self.session])
            for event in events
        ]

    def close(self):
        self.session.close()
        assert self.engine.pool.used_pages == 0


def entries(stepper):
    """Keys and values of every block in every layer, token by token."""
    blocks = stepper.session.blocks
    pool = blocks.pool
    result = {}
    for name in blocks:
        slots = blocks[name].slots(0, len(blocks[name]))
        pages, offsets = slots // pool.page_size, slots % pool.page_size
        for index, layer in pool.layers.items():
            for what, cache in (("k", layer.k), ("v", layer.v)):
                result[name, index, what] = cache[pages, :, offsets].clone()
    return result


def read(session, forwards):
    """Events up to and including those of a forward; the session is a little further then."""
    events = []
    for event in session:
        events.append(event)
        if event.forward >= forwards:
            break
    return events


# ------------------------------------------------------------------ probes


@dataclass
class Asking(FixedRatioPolicy):
    """A fixed ratio, with questions whose answers it does not heed."""

    name = "asking"

    question: str = "begin"
    worker: str = "thinker"
    ride: str = "auto"
    _count: int = 0

    def decide(self, moment):
        self._count += 1
        if self._count % 5 == 0:
            return Ask(self.question, self.worker, ride=self.ride)
        return super().decide(moment)


@pytest.mark.parametrize("ride", ["auto", "never"])
@pytest.mark.parametrize(
    ("question", "worker"), [("begin", "thinker"), ("begin", "writer"), ("unsure", "writer")]
)
@pytest.mark.parametrize("arrangement", ["roles", "shared"])
def test_a_probe_leaves_every_block_byte_identical(question, worker, arrangement, ride):
    options = {"prompts": PROMPTS if arrangement == "roles" else SHARED, "arrangement": arrangement}
    plain = Stepper(make_engine(), FixedRatioPolicy(think=99), **options)
    asking = Stepper(make_engine(), Asking(think=99, question=question, worker=worker, ride=ride), **options)
    plain.forwards(1 + 24)
    events = asking.forwards(1 + 24 + (4 if ride == "never" else 0))  # after five forwards each a question
    assert sum(event.type == "probe" for event in events) == 4
    same_bytes(plain, asking)


def same_bytes(plain, asking):
    a, b = entries(plain), entries(asking)
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].shape == b[key].shape and torch.equal(a[key], b[key]), key
    plain.close()
    asking.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("policy", "safety", "silence"),
    [
        (make_policy("probe", every=4, margin=1e9, longest_silence=None), None, 99),
        (make_policy("probe", every=4, margin=-1e9, longest_silence=None), None, 5),
        (make_policy("entropy", every=4, threshold=0, hysteresis=0, longest_silence=None), None, 99),
        ("always-on", Safety(hold=3, every=4, margin=-1e9), 3),
    ],
)
def test_whoever_asks_leaves_no_trace_and_takes_no_forward(policy, safety, silence, dtype):
    """With its defaults: questions that are never heeded, or that are heeded when a fixed ratio would speak, too."""
    plain = Stepper(make_engine(dtype=dtype), FixedRatioPolicy(think=silence, write=99))
    asking = Stepper(make_engine(dtype=dtype), policy, safety=safety)
    asked = 0
    for session in (plain, asking):
        thoughts = 0
        while thoughts < 18:
            events = session.forwards(1)
            thoughts += len([event for event in sampled(events) if event[0] == "thinker"])
            asked += sum(event.type == "probe" for event in events)
    assert asked >= 3
    assert asking.session.forwards == plain.session.forwards
    same_bytes(plain, asking)


@pytest.mark.parametrize(("question", "worker"), [("begin", "thinker"), ("unsure", "writer")])
def test_a_probe_that_always_rides_changes_nothing_that_stands_and_no_token(question, worker):
    asking = Stepper(make_engine(), Asking(think=99, question=question, worker=worker, ride="always"))
    plain = Stepper(make_engine(), FixedRatioPolicy(think=99))
    asking.forwards(6)
    before = entries(asking)
    events = asking.forwards(1)  # in this forward the question rides
    after = entries(asking)
    for key, values in before.items():
        if key[0] != "so_far":
            assert torch.equal(after[key][: len(values)], values), key
    assert len(after["so_far", 0, "k"]) == len(after["side", 0, "k"]) == 0
    assert [event.type for event in events] == ["token", "probe"]
    said = plain.forwards(7 + 20)
    rest = asking.forwards(20)
    assert sampled(said)[-20:] == sampled(rest)[-20:]
    a, b = entries(plain), entries(asking)
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------ copies and files


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, STOCHASTIC])
@pytest.mark.parametrize("forwards", [0, 1, 13])
def test_a_fork_and_a_file_go_on_alike(settings, forwards, tmp_path):
    engine = make_engine()
    policy = make_policy("fixed-ratio", think=4, write=5)
    session = think(engine, policy, **settings)
    told = read(session, forwards)
    session.push("{hint}", to="thinker", at="paragraph")
    session.push("more")
    fork = session.fork()
    session.snapshot(tmp_path / "run.safetensors")
    forked, restored = list(fork), list(make_engine().restore(tmp_path / "run.safetensors"))
    told += session
    assert drawn(forked) == drawn(told) == drawn(restored) != [[], []]
    assert ThinkResult.from_events(forked).text == ThinkResult.from_events(restored).text
    heard = [event.text for event in told if event.type == "input"]
    assert sorted([*heard, *session.protocol.undelivered]) == ["more", "{hint}"]
    assert engine.pool.used_pages == 0


@pytest.mark.parametrize("earlier", ["kept", "folded", "dropped"])
def test_copies_between_two_turns_know_that_the_first_is_over(earlier, tmp_path):
    options = {"turns": True, "earlier_thoughts": earlier, "summary_tokens": 4, "max_forwards": 8}
    session = think(make_engine(), **options, **STOCHASTIC)
    for _ in session.turn():
        pass
    session.snapshot(tmp_path / "run.safetensors")
    copies = [session.fork(), make_engine().restore(tmp_path / "run.safetensors")]
    answers = []
    for one in (session, *copies):
        one.push("and now?")
        answers.append(one.result().answers)
    assert len(answers[0]) == 2 and all(answers[0])
    assert answers[1] == answers[2] == answers[0]


def test_a_file_goes_on_in_another_process(tmp_path):
    session = think(make_engine(), **STOCHASTIC, rule=RULE)
    read(session, 9)
    session.push("{hint}", to="thinker", at="paragraph")
    session.snapshot(tmp_path / "run.safetensors")
    program = (
        "import sys; from protocols.test_async_engine import drawn, make_engine;"
        "print(drawn(list(make_engine().restore(sys.argv[1]))))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run.safetensors")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(done.stdout.strip()) == drawn(session.fork()) != [[], []]


def test_copies_of_a_session_with_a_policy_of_ones_own(tmp_path, monkeypatch):
    engine = make_engine()
    with think(engine, Asking(think=4, write=5), **STOCHASTIC) as session:
        read(session, 9)
        session.snapshot(tmp_path / "run.safetensors")
        with pytest.raises(UnknownNameError, match="unknown policy 'asking'"):
            engine.restore(tmp_path / "run.safetensors")
        monkeypatch.setitem(POLICIES, "asking", Asking)
        restored = drawn(engine.restore(tmp_path / "run.safetensors"))
        monkeypatch.undo()
        assert drawn(session.fork()) == restored != [[], []]
        assert drawn(session.fork().fork()) == restored
    assert engine.pool.used_pages == 0


def test_a_fork_with_another_seed_says_something_else():
    engine = make_engine()
    session = think(engine, **STOCHASTIC)
    said = drawn(read(session, 9))
    one, other = drawn(session.fork()), drawn(session.fork(seed=99))
    for index in (0, 1):
        count = len(said[index])
        assert one[index][:count] == other[index][:count] == said[index] != []
    assert one != other


def test_forks_and_files_of_what_has_ended_or_is_something_else(tmp_path):
    engine = make_engine()
    session = think(engine, max_forwards=2)
    path = tmp_path / "run.safetensors"
    session.snapshot(path)
    list(session)
    for call in (session.fork, lambda: session.snapshot(path), session.interrupt, lambda: session.push("x")):
        with pytest.raises(SessionFinishedError):
            call()
    hogwild.cache.save_blocks(tmp_path / "b.safetensors", {"a": hogwild.cache.Block(engine.pool)})
    with pytest.raises(BlockError, match="no session of asynchronous reasoning"):
        engine.restore(tmp_path / "b.safetensors")
    with pytest.raises(BlockError, match="pages of 32 tokens"):
        make_engine(page_size=16).restore(path)
    block = hogwild.cache.Block(engine.pool)
    note = json.loads(hogwild.cache.read_note(path))
    for wrong in ("no JSON", "[1]", "", json.dumps({**note, "format": "other"})):
        hogwild.cache.save_blocks(tmp_path / "b.safetensors", {"a": block}, wrong)
        with pytest.raises(BlockError, match="no session of asynchronous reasoning"):
            engine.restore(tmp_path / "b.safetensors")
    del note["protocol"]["problem"]
    hogwild.cache.save_blocks(tmp_path / "b.safetensors", {"a": block}, json.dumps(note))
    with pytest.raises(BlockError, match=r"path: .*b.safetensors is damaged \(KeyError: 'problem'\)"):
        engine.restore(tmp_path / "b.safetensors")
    with pytest.raises(IsADirectoryError, match=r"path: .* is a folder"):
        engine.restore(tmp_path)
    assert engine.pool.used_pages == 0


def test_a_copy_that_finds_no_room_or_is_wrong_leaves_no_pages(tmp_path):
    engine, small = make_engine(), make_engine(max_tokens=32 * 4)
    path = tmp_path / "run.safetensors"
    with think(engine) as session:
        read(session, 3)
        session.snapshot(path)
        with pytest.raises(TypeError, match="seed"):
            session.fork(seed="x")
    with pytest.raises(PoolExhausted):
        small.restore(path)
    with pytest.raises(TypeError, match="seed"):
        engine.restore(path, seed="x")
    assert engine.pool.used_pages == small.pool.used_pages == 0
    engine.close()
    with pytest.raises(HogwildError, match="closed"):
        engine.restore(path)
    assert engine.pool.used_pages == 0


def test_a_long_prompt_is_forked_when_it_is_written():
    engine = make_engine(max_forward_tokens=20)
    session = think(engine)
    fork = session.fork()
    assert sampled(list(fork)) == sampled(list(session))


# ------------------------------------------------------------------ reading it


def test_for_and_async_for_give_the_same_events():
    def plain(events):  # sessions that share a forward may differ in the last bit of a probability
        return [(e.type, e.forward, getattr(e, "token", None), getattr(e, "mode", None)) for e in events]

    async def collect():
        engine = make_engine()

        async def one(session):
            return [event async for event in session]

        return await asyncio.gather(*(one(think(engine, "probe")) for _ in range(2)))

    told = list(think(make_engine(), "probe"))
    assert isinstance(told[-1], FinishEvent)
    for other in asyncio.run(collect()):
        assert plain(other) == plain(told)


def test_turns_and_what_came_of_them():
    engine = make_engine()
    with think(engine, turns=True, max_forwards=6, earlier_thoughts="folded", summary_tokens=3) as session:
        first = list(session.turn())
        assert session.mode == "waiting" and isinstance(first[-1], type(first[-1]))
        assert list(session.turn()) == []
        session.push("and now?")
        second = list(session.turn())
        assert sum(isinstance(event, AnswerEvent) for event in [*first, *second]) == 2
        result = session.result()
    assert result.finish_reason == "eos" and len(result.answers) == 2
    assert result.text == "".join(result.answers) and result.first_forward == 2
    assert engine.pool.used_pages == 0


def test_turns_that_others_open_meanwhile():
    engine = make_engine()
    with think(engine, turns=True, max_forwards=4) as session:
        list(session.turn())
        session.interrupt()  # nothing is to be told of that
        assert list(session.turn()) == []
        session.push("two")
        events = iter(session.turn())
        first = next(events)  # abandoned in the middle of the turn
        session.push(" more", to="writer")
        rest = list(session.turn())
        told = [first, *rest]
        assert sum(isinstance(event, AnswerEvent) for event in told) == 1
        assert [e.text for e in told if e.type == "input"] == ["two", " more"]
        for text in ("three", "four"):
            session.push(text)
            session.push("!", to="thinker")
        told = []
        while not any(getattr(e, "text", "") == "four" for e in told if e.type == "input"):
            told += session.turn()
        assert list(session.turn()) == [] and session.mode == "waiting"
    assert session.finished and list(session)[-1].reason == "cancelled"
    assert engine.pool.used_pages == 0


def test_sessions_share_forwards_with_all_that_is_submitted():
    engine = make_engine()
    batches, forward = [], engine._batcher.forward
    engine._batcher.forward = lambda sessions, *rest: (
        batches.append(len(sessions)) or forward(sessions, *rest)
    )
    handle = engine.submit(engine.thinking("add", policy="always-on", prompts=PROMPTS, max_forwards=400))
    with think(engine, max_forwards=12) as session:
        assert session.result().forwards == 13
    handle.cancel()
    handle.wait()
    assert batches.count(2) >= 8


def test_a_session_waits_for_who_reads_it():
    session = think(make_engine(), max_forwards=400)
    read(session, 3)
    time.sleep(0.3)
    session.push("now")  # long before the end, since nobody has read on
    assert any(event.type == "input" for event in read(session, 30))
    session.close()


def test_a_session_waits_for_a_thread_that_speaks():
    session = think(make_engine(), turns=True, max_forwards=4)

    def speak():
        time.sleep(0.2)
        session.push("again")
        time.sleep(0.2)
        session.finish()

    thread = threading.Thread(target=speak)
    thread.start()
    events = list(session)
    thread.join()
    assert events[-1].reason == "eos" and "again" in [e.text for e in events if e.type == "input"]


def test_baselines_are_plain_decoding():
    """Thoughts, then the answer: the same tokens as one text of the model itself."""
    engine = make_engine()
    prompts = dataclasses.replace(
        PROMPTS, thinker_prompt="P:", writer_prompt="", input="{problem}", thinker_split=""
    )
    options = {"prompts": prompts, "max_forwards": 30}
    events = list(engine.think("add", "think", max_thoughts=12, **options))
    protocol = engine.thinking("add", "think", **options)
    ids = [*protocol._encoded.thinker_prompt, *protocol._encoded.input, *protocol._encoded.thoughts_opening]
    got, want = sampled(events), []
    for count in range(30):
        if count == 12:
            ids += [*protocol._encoded.writer_split, *protocol._encoded.answer_opening]
        with torch.inference_mode():
            logits = engine.model(torch.tensor([ids])).logits[0, -1].clone()
            logits[list(protocol.sampling("writer").forbidden_tokens)] = -torch.inf
        ids.append(int(logits.argmax()))
        want.append(("thinker" if count < 12 else "writer", ids[-1]))
    assert got == want
    events = list(engine.think("add", "no-think", **options))
    assert {worker for worker, _ in sampled(events)} == {"writer"}
    with pytest.raises(ValueError, match="policy: the method 'think' has one of its own"):
        engine.think("add", "think", policy="probe")


def test_a_session_that_fails_says_why_and_leaves_no_pages():
    engine = make_engine(max_tokens=32 * 12)
    session = think(engine, max_forwards=4000)
    with pytest.raises(hogwild.errors.PoolExhausted):
        for _ in session:
            pass
    session.close()
    assert engine.pool.used_pages == 0


def test_text_longer_than_the_models_context_is_refused_by_copies_too(tmp_path):
    engine = make_engine(positions=300)
    with think(engine, turns=True) as session:
        list(session.turn())
        path = tmp_path / "session"
        session.snapshot(path)
        other = make_engine(positions=400)
        for one, limit in ((session, 300), (session.fork(), 300), (other.restore(path), 400)):
            with one, pytest.raises(ValueError, match=f"text: expected at most .* for {limit} "):
                one.push("x" * limit)
