"""Going on where others stopped: with their blocks and their random draws, also from a file."""

import pytest
import torch
from tiny import PROMPT, Writers, contents, make_engine, make_model

from hogwild.cache import BlockSet, Pool, ViewSpec, load_blocks, read_note, save_blocks
from hogwild.engine import Feed, Protocol, SamplingParams, StartEvent
from hogwild.engine.batch_sampler import BatchSampler, Request
from hogwild.engine.sampler import Sampler
from hogwild.errors import BlockError


class Rests(Protocol):
    """Writes one more token behind what is there already."""

    name, workers = "rests", ("w0",)

    def start(self, store):
        assert store.names() == ["prompt", "w0"]
        return [StartEvent(protocol=self.name)]

    def feeds(self):
        return [Feed("w0", (4,), ViewSpec(("prompt", "w0"), "w0"))]

    def receive(self, results):
        (self.result,) = results
        self.finish_reason = "eos"
        return []


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_sampler_goes_on_where_its_state_was_taken(penalty):
    params = SamplingParams(temperature=1.0, repetition_penalty=penalty, seed=5)
    logits = torch.randn(12, 40)
    sampler, tokens = Sampler(params, 1), []
    batch = BatchSampler()

    def pick(sampler, line, fed):
        (outcome,) = batch.sample(line[None], [Request(sampler, fed)])
        return outcome.token

    for index, line in enumerate(logits):
        if index == 6:
            state = sampler.state()
        token = pick(sampler, line, [index])
        sampler.accept([index])
        tokens.append(token)
    twin = Sampler(params, 1)
    twin.load_state(state)
    again = []
    for index, line in enumerate(logits[6:], start=6):
        again.append(pick(twin, line, [index]))
        twin.accept([index])
    assert again == tokens[6:]
    assert twin.state() == sampler.state()


def test_a_session_goes_on_with_blocks_that_are_there():
    engine = make_engine()
    session = engine.open(Writers(PROMPT, count=3))
    while not session.finished:
        engine.forward()
    blocks = session.blocks.copy()

    before = contents(session)
    twin = engine.open(Rests(), blocks=blocks)
    engine.forward([twin])
    assert contents(twin)["w0"] == [*before["w0"], 4] and contents(session) == before
    with pytest.raises(BlockError, match="this engine's pool"):
        engine.open(Rests(), blocks=BlockSet(Pool()))
    with pytest.raises(BlockError, match="another pool"):
        blocks.put("w9", _foreign_block())


def test_a_block_is_in_one_set():
    """Who closes a session would empty the other's block."""
    engine = make_engine()
    first, second = (engine.open(Writers(PROMPT, count=3)) for _ in range(2))
    prompt = first.blocks["prompt"]
    for blocks in (first.blocks, second.blocks):
        with pytest.raises(
            BlockError, match=r"Block\(prompt, .* stands in a set of blocks already; put a fork"
        ):
            blocks.put("other", prompt)
        blocks.put("other", prompt.fork())
    apart = BlockSet(engine.pool)
    apart.create("w9")
    second.blocks.take_over(apart)
    assert apart.names() == [] and "w9" in second.blocks
    with pytest.raises(BlockError, match="there is a block 'prompt' already"):
        second.blocks.take_over(first.blocks)
    assert "other" in first.blocks and "other" in second.blocks


def test_sessions_of_another_engine_are_refused():
    ours, theirs = make_engine(), make_engine(make_model(seed=2))
    session = theirs.open(Writers(PROMPT, count=3))
    with pytest.raises(BlockError, match=r"sessions: .* belongs to another engine"):
        ours.forward([session])
    assert session.forwards == 0 and theirs.forward([session])


def _foreign_block():
    blocks = BlockSet(Pool())
    blocks.create("a")
    return blocks["a"]


def test_a_note_is_kept_with_saved_blocks(tmp_path):
    engine = make_engine()
    session = engine.open(Writers(PROMPT))
    engine.forward()
    path = tmp_path / "blocks.safetensors"
    save_blocks(path, {name: session.blocks[name] for name in session.blocks}, note="a: 1")
    assert read_note(path) == "a: 1"
    assert load_blocks(path, Pool())["prompt"].tokens == PROMPT
