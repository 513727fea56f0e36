"""Protocols on a real cache, with a tiny random model: views, moved and re-encoded keys, snapshots."""

from __future__ import annotations

import pytest
import torch
from scripted import of_the_run
from view_texts import ViewTexts, run_and_compare

from engine.tiny import make_model
from fakes import ToyTokenizer
from hogwild.cache import BlockSet, ForwardPlan, ViewSpec
from hogwild.engine.events import StepEvent, TokenEvent
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import ContextLengthError
from hogwild.models import packed_forward
from hogwild.prompting import Headers
from hogwild.protocols import CollaborationProtocol, Engine, make

TOKENIZER = ToyTokenizer(["\n\n", ".\n\n"])  # the vocabulary of the tiny model
TEXT = "Solve it.\n\n### Past steps"
PROMPT = TOKENIZER.encode(TEXT)
# Whatever the random model would like to say, it can say these only: sentences, and ends of steps.
WORDS = [TOKENIZER.id(piece) for piece in ["a", "b", " ", ".", "\n\n", ".\n\n"]]
SAMPLING = SamplingParams(
    temperature=2.0, seed=5, forbidden_tokens=tuple(i for i in range(len(TOKENIZER.vocab)) if i not in WORDS)
)


@pytest.fixture(scope="module")
def engine():
    return Engine(make_model(), TOKENIZER)


def collaboration(workers=2, layout="combined", **options):
    options = {"max_forwards": 80, "prompt": PROMPT, "headers": Headers(), "sampling": SAMPLING, **options}
    return CollaborationProtocol("Solve it.", TOKENIZER, workers, layout, **options)


def keys_and_values(session, name):
    """Per layer what a block holds: keys and values, [tokens, heads, dim]."""
    block = session.blocks[name]
    slots = block.slots(0, len(block))
    size = session.blocks.pool.page_size
    pages, places = slots // size, slots % size
    return [
        (layer.k[pages, :, places], layer.v[pages, :, places])
        for _, layer in sorted(session.blocks.pool.layers.items())
    ]


@pytest.mark.parametrize("reencode", [False, True])
@pytest.mark.parametrize("layout", ["combined", "contiguous", "interleaved"])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 6])
def test_views_of_a_real_run_are_the_layouts_texts(engine, layout, workers, reencode):
    protocol = collaboration(workers, layout, reencode=reencode, question_every=40)
    texts = ViewTexts(protocol, TEXT, [0])
    run_and_compare(engine, protocol, TOKENIZER, texts)
    assert layout == "contiguous" or len(texts.finished) > workers


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_moved_step_has_the_keys_of_its_place_and_its_own_values(engine, workers):
    """Keys of the first layer depend on the token and its place only: compared with a text written there."""
    protocol = collaboration(workers)
    with engine.open(protocol) as session:
        before: dict[str, list[torch.Tensor]] = {}
        moved = 0
        while not session.finished:
            for name in session.blocks.names():
                before[name] = [value for _, value in keys_and_values(session, name)]
            lengths = {name: session.blocks.length(name) for name in session.blocks.names()}
            engine.forward([session])
            # who stood aside for a forward stands at the end of the history now, with the same values
            for name in [n for n in lengths if n.startswith("closing:") and n not in session.blocks.names()]:
                place = lengths["history"]
                for old, (_, now) in zip(before[name], keys_and_values(session, "history"), strict=True):
                    assert torch.equal(now[place : place + lengths[name]], old)
                    moved += 1
                break  # those behind it begin where this one ends, after the token it has got since
        assert moved > 0
        history = session.blocks.tokens("history")
        fresh = BlockSet(engine.pool)
        fresh.create("text")
        plan = ForwardPlan([(fresh.view(ViewSpec(("text",), "text")), history)])
        with torch.inference_mode():
            packed_forward(engine.model, plan, plan.last_rows)
        plan.commit([0])
        slots = fresh["text"].slots(0, len(history))
        layer = engine.pool.layers[0]
        written = layer.k[slots // engine.pool.page_size, :, slots % engine.pool.page_size]
        torch.testing.assert_close(keys_and_values(session, "history")[0][0], written, rtol=0, atol=2e-5)
        fresh.free()


@pytest.mark.parametrize("workers", [1, 3])
def test_reencoded_steps_equal_a_fresh_forward_over_the_history(engine, workers):
    protocol = collaboration(workers, reencode=True)
    with engine.open(protocol) as session:
        while not session.finished:
            engine.forward([session])
        history = session.blocks.tokens("history")
        assert TOKENIZER.decode(history).count("]:**") > workers
        fresh = BlockSet(engine.pool)
        fresh.create("text")
        plan = ForwardPlan([(fresh.view(ViewSpec(("text",), "text")), history)])
        with torch.inference_mode():
            packed_forward(engine.model, plan, plan.last_rows)
        plan.commit([0])
        slots = fresh["text"].slots(0, len(history))
        size = engine.pool.page_size
        for (_, layer), (keys, values) in zip(
            sorted(engine.pool.layers.items()), keys_and_values(session, "history"), strict=True
        ):
            torch.testing.assert_close(keys, layer.k[slots // size, :, slots % size], rtol=0, atol=2e-5)
            torch.testing.assert_close(values, layer.v[slots // size, :, slots % size], rtol=0, atol=2e-5)
        fresh.free()


# ------------------------------------------------------------------ snapshots

METHODS = [
    "sequential",
    "self-consistency:3",
    "self-consistency:2:vote",
    "skeleton:2",
    "hogwild:1",
    "hogwild:3",
]
METHODS += ["hogwild:2:contiguous", "hogwild:2:interleaved", "hogwild:2:re-encode"]
GREEDY = SamplingParams(repetition_penalty=1.3, forbidden_tokens=SAMPLING.forbidden_tokens)


def method(name, **options):
    options = {"sampling": GREEDY, "end_tokens": [0], "max_forwards": 48, **options}
    return make(name, "Solve it.", TOKENIZER, **options)


@pytest.mark.parametrize("name", METHODS)
def test_a_snapshot_answers_as_a_run_that_stops_there(engine, name):
    budgets = [5, 17, 31, 48]
    protocol = method(name, budgets=budgets)
    with_snapshots = list(engine.stream(protocol))
    for budget, answer in zip(budgets, protocol.answers, strict=True):
        stopped = method(name, max_forwards=budget)
        list(engine.stream(stopped))
        assert stopped.answers == [answer] and answer.text
    plain = list(engine.stream(method(name, early_finish=False)))
    assert _told(with_snapshots) == _told(plain)
    assert engine.pool.used_pages == 0


@pytest.mark.parametrize("name", METHODS)
def test_snapshots_change_no_draw(engine, name):
    told = []
    for options in ({"early_finish": False}, {"budgets": [2, 5, 17, 31, 48]}):
        told.append(_told(engine.stream(method(name, sampling=SAMPLING, **options))))
    assert told[0] == told[1]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_ends_with_the_context_and_keeps_its_answers(engine, name):
    """Budgets that were passed before have their answers, those beyond that of the whole run."""
    budgets, most = [5, 17, 900, 1000], 1800 if name.startswith("hogwild") else 1450
    options = {"max_forwards": 1000, "budgets": budgets}
    for question in range(2) if name.startswith("hogwild") else range(1):
        words = {"question_every": 7} if question else {}
        protocol = method(name, max_length=most, **options, **words)
        small = Engine(make_model(most), TOKENIZER)
        *_, finish = small.stream(protocol)
        assert finish.reason == "max_length" and small.pool.used_pages == 0
        free = method(name, **{**options, "max_forwards": 17, "budgets": budgets[:2]}, **words)
        list(engine.stream(free))
        assert protocol.answers[:2] == free.answers
        beyond, last = protocol.answers[2:]
        assert beyond.text and 17 < beyond.forwards == last.forwards < 900


@pytest.mark.parametrize("name", METHODS)
def test_a_prompt_that_does_not_fit_is_told_before_it_is_written(engine, name):
    protocol = method(name, max_length=3)
    session = engine.open(protocol)
    engine.forward()
    assert session.finished and session.forwards == 0 and engine.pool.used_pages == 0
    assert isinstance(session.error, ContextLengthError)
    assert f"tokens, but max_length of '{protocol.name}' is 3" in str(session.error)
    session.close()


def test_an_engines_protocols_know_its_context():
    small = Engine(make_model(900), TOKENIZER)
    protocol = small.method("sequential", "Go.", budgets=[4, 600], sampling=GREEDY)
    *_, finish = small.stream(protocol)
    assert finish.reason == "max_length" and all(answer.text for answer in protocol.answers)


def _told(events):
    """What the run said, without times and what was asked of it afterwards."""
    told = [e for e in of_the_run(events) if isinstance(e, (TokenEvent, StepEvent))]
    return [(e.type, e.worker, e.text, e.forward) for e in told]


def test_runs_in_company_answer_as_alone(engine):
    names = METHODS[:3] + METHODS[5:7]
    alone = []
    for name in names:
        protocol = method(name, budgets=[5, 17])
        list(engine.stream(protocol))
        alone.append(protocol.answers)
    protocols = [method(name, budgets=[5, 17]) for name in names]
    for _ in engine.run(protocols):
        pass
    assert [protocol.answers for protocol in protocols] == alone


def test_the_engine_knows_its_models_settings():
    model = make_model()
    model.generation_config.update(do_sample=True, temperature=0.6, top_k=20, eos_token_id=[0, 9])
    protocol = Engine(model, TOKENIZER).method("self-consistency:3", "Go.", seed=7, top_p=0.5, budgets=[4])
    assert protocol.sampling("Carol") == SamplingParams(temperature=0.6, top_k=20, top_p=0.5, seed=7)
    assert {0, 9} <= protocol._end_tokens and protocol.budgets == (4,)
