"""Probes and entropies: against the plain formulas, and through the engine, where they change nothing."""

import math

import pytest
import torch
from tiny import PROMPT, Writers, contents, make_engine, make_model

from hogwild.cache import BlockSet, Pool, ViewSpec, load_blocks, read_note, save_blocks
from hogwild.engine import Feed, Protocol, SamplingParams, StartEvent
from hogwild.engine.measures import measure
from hogwild.engine.sampler import Sampler
from hogwild.errors import BlockError


def test_measures_are_those_of_the_softmax():
    logits = torch.randn(50) * 3
    logits[7] = -math.inf
    probabilities = logits.softmax(-1)
    probe, entropy = measure(logits, [(3, 4, 4), (9,), (7,)], True)
    assert probe[0] == pytest.approx(float((probabilities[3] + probabilities[4]).log()), abs=1e-5)
    assert probe[1] == pytest.approx(float(probabilities[9].log()), abs=1e-5)
    assert probe[2] == -math.inf
    kept = probabilities[probabilities > 0]
    assert entropy == pytest.approx(float(-(kept * kept.log()).sum()), abs=1e-5)
    assert measure(logits, None, False) == (None, None)
    assert measure(logits, [(1,)], False).entropy is None


class Asks(Protocol):
    """Writes the prompt and asks about its end, in one feed that does not sample."""

    name, workers = "asks", ("w0",)

    def __init__(self, **feed):
        self._feed = feed

    def start(self, store):
        store.create("prompt")
        return [StartEvent(protocol=self.name)]

    def feeds(self):
        return [Feed("w0", tuple(PROMPT), ViewSpec(("prompt",), "prompt"), **self._feed)]

    def receive(self, results):
        (self.result,) = results
        self.finish_reason = "eos"
        return []


@pytest.mark.parametrize("max_forward_tokens", [1024, 7])
def test_the_engine_measures_at_the_end_of_a_feed(max_forward_tokens):
    model = make_model()
    with torch.inference_mode():
        want = model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    protocol = Asks(sample=False, probe=((3, 5), (8,)), entropy=True)
    list(make_engine(model, max_forward_tokens=max_forward_tokens).stream(protocol))
    result = protocol.result
    assert result.token is None
    assert result.probe == pytest.approx([float(want[[3, 5]].logsumexp(0)), float(want[8])], abs=1e-4)
    assert result.entropy == pytest.approx(float(-(want.exp() * want).sum()), abs=1e-4)
    both = Asks(sample=True, probe=((3, 5), (8,)))
    list(make_engine(model).stream(both))
    assert both.result.token == int(want.argmax())
    assert both.result.probe == pytest.approx(result.probe, abs=1e-4)


def test_probes_of_nothing_and_of_foreign_tokens_are_refused():
    with pytest.raises(ValueError, match="probe: expected at least one token id in every set"):
        Feed("w0", (1,), ViewSpec(("a",), "a"), probe=((1,), ()))
    protocol = Asks(probe=((10**6,),))
    with pytest.raises(ValueError, match="below the vocabulary's size"):
        list(make_engine().stream(protocol))


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_sampler_goes_on_where_its_state_was_taken(penalty):
    params = SamplingParams(temperature=1.0, repetition_penalty=penalty, seed=5)
    logits = torch.randn(12, 40)
    sampler, tokens = Sampler(params, 1), []
    for index, line in enumerate(logits):
        if index == 6:
            state = sampler.state()
        token, _ = sampler.sample(line, [index])
        sampler.accept([index])
        tokens.append(token)
    twin = Sampler(params, 1)
    twin.load_state(state)
    again = []
    for index, line in enumerate(logits[6:], start=6):
        again.append(twin.sample(line, [index])[0])
        twin.accept([index])
    assert again == tokens[6:]
    assert twin.state() == sampler.state()


def test_a_session_goes_on_with_blocks_that_are_there():
    engine = make_engine()
    session = engine.open(Writers(PROMPT, count=3))
    while not session.finished:
        engine.forward()
    blocks = session.blocks.copy()

    class Rests(Asks):
        def start(self, store):
            assert store.names() == ["prompt", "w0"]
            return []

        def feeds(self):
            return [Feed("w0", (4,), ViewSpec(("prompt", "w0"), "w0"), **self._feed)]

    before = contents(session)
    twin = engine.open(Rests(), blocks=blocks)
    engine.forward([twin])
    assert contents(twin)["w0"] == [*before["w0"], 4] and contents(session) == before
    with pytest.raises(BlockError, match="this engine's pool"):
        engine.open(Rests(), blocks=BlockSet(Pool()))
    with pytest.raises(BlockError, match="another pool"):
        blocks.put("w9", _foreign_block())


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
