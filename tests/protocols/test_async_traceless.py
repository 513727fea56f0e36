"""Questions with default settings: they ride, and no byte of any block tells that they were asked."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hogwild
from engine.tiny import TOKENIZER, make_model
from hogwild.engine.graphs import GraphRunner
from hogwild.engine.runner import EagerRunner
from hogwild.models import loading
from hogwild.protocols.async_reasoning import Safety, make_policy
from models.tiny_models import count_rows, tiny_model
from protocols.test_async_engine import PROMPTS, SHARED, Stepper, entries, sampled

ARRANGEMENTS = {"roles": PROMPTS, "shared": SHARED}
FAMILIES = ["llama", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "gpt_oss", "deepseek_v3", "granite"]
STOPS = [TOKENIZER.eos_token_id, *(TOKENIZER.id(piece) for piece in TOKENIZER.vocab if "\n" in piece)]
# Who asks; and what says and does the same without asking. Questions are answered by margins out of reach.
ASKING = {
    "probe": (make_policy("probe", every=3, margin=1e9, longest_silence=7), None, 7),
    "probe, heeded": (make_policy("probe", every=4, margin=-1e9, longest_silence=None), None, 5),
    "entropy": (make_policy("entropy", every=3, threshold=1e9, hysteresis=1e9, longest_silence=7), None, 7),
    "entropy, heeded": (make_policy("entropy", every=4, threshold=1e9, hysteresis=0.0), None, 5),
    "safety": ("always-on", Safety(hold=4, every=3, margin=-1e9), 4),
}


def make_engine(name, dtype, runner=EagerRunner, device="cpu", changes=None, **options):
    if name == "toy":
        model = make_model().to(dtype)
    else:
        model = tiny_model(name, dtype, vocab_size=len(TOKENIZER.vocab), **(changes or {}))
    model.to(device)
    model.generation_config.eos_token_id = None
    hogwild.enable(model)
    return hogwild.Engine(model, TOKENIZER, runner=runner(model), **options)


def pair(make, who, arrangement, **sampling):
    """Two sessions on engines of their own: the first asks, the second does as it does without asking."""
    policy, safety, think = ASKING[who]
    options = {
        "prompts": ARRANGEMENTS[arrangement],
        "arrangement": arrangement,
        "max_forwards": 400,
        **sampling,
    }
    options["forbidden_tokens"] = STOPS
    plain = make_policy("fixed-ratio", think=think, write=10_000)
    return Stepper(make(), policy, safety=safety, **options), Stepper(make(), plain, **options)


def run(stepper, forwards, pushes=()):
    """Events of some forwards; `pushes` are (before which forward, text, to what)."""
    events = []
    for index in range(forwards):
        for when, text, to in pushes:
            if when == index:
                stepper.session.protocol.push(text, to)
        events += stepper.forwards(1)
    return events


def asked(events):
    return sum(event.type == "probe" for event in events)


def assert_same_bytes(one, other):
    """Keys, values and lengths of every block but the one that the measurement shares pages with."""
    a, b = entries(one), entries(other)
    assert a.keys() == b.keys()
    for key in a:
        if key[0] != "so_far":
            assert a[key].shape == b[key].shape, key
            assert a[key].view(torch.uint8).equal(b[key].view(torch.uint8)), key


def compare(asking, plain, forwards, pushes=()):
    """The same forwards of both: how many questions were asked."""
    told, expected = run(asking, forwards, pushes), run(plain, forwards, pushes)
    assert sampled(told) == sampled(expected) != []
    assert asking.session.forwards == plain.session.forwards == forwards
    assert_same_bytes(asking, plain)
    asking.close()
    plain.close()
    return asked(told)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_questions_ride_and_leave_no_byte(name, arrangement, dtype):
    for who in ("probe, heeded", "entropy", "safety"):
        asking, plain = pair(lambda: make_engine(name, dtype), who, arrangement, temperature=1.1, seed=3)
        assert compare(asking, plain, 1 + 16) >= {"probe, heeded": 3, "entropy": 2, "safety": 4}[who]


@settings(max_examples=40)
@given(
    who=st.sampled_from(sorted(ASKING)),
    arrangement=st.sampled_from(sorted(ARRANGEMENTS)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
    pushes=st.lists(
        st.tuples(st.integers(1, 18), st.text("abc. ", min_size=1, max_size=9).filter(str.strip),
                  st.sampled_from(["input", "thinker", "writer"])),
        max_size=4,
    ),
)  # fmt: skip
def test_whatever_is_said_and_pushed(who, arrangement, dtype, seed, pushes):
    engine = lambda: make_engine("toy", dtype, page_size=16)  # noqa: E731
    asking, plain = pair(engine, who, arrangement, temperature=1.3, seed=seed)
    assert compare(asking, plain, 1 + 19, pushes) >= 1


def counting_engine():
    engine = make_engine("toy", torch.float32)
    count_rows(engine.model)
    return engine


def test_these_tests_would_see_it():
    """A model whose rows depend on their number: by default nothing shows, by riding always it does."""
    asking, plain = pair(counting_engine, "probe", "roles")
    assert compare(asking, plain, 12) >= 2
    asking, plain = pair(counting_engine, "probe", "roles")
    asking.close()
    policy = make_policy("probe", every=3, margin=1e9, longest_silence=7, ride="always")
    asking = Stepper(counting_engine(), policy, max_forwards=400)
    run(asking, 6), run(plain, 6)
    with pytest.raises(AssertionError):
        assert_same_bytes(asking, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("who", ASKING)
def test_forwards_of_fixed_size(who, dtype):
    """As CUDA graphs have it, where a question is of another size than the streams."""
    asking, plain = pair(lambda: make_engine("toy", dtype, GraphRunner), who, "roles", seed=3)
    assert compare(asking, plain, 1 + 16) >= 1


@pytest.mark.cuda
@pytest.mark.usefixtures("quick_collections")
@pytest.mark.parametrize(
    ("name", "dtype", "compile", "arrangement", "who"),
    [
        ("llama", torch.bfloat16, "layers", "roles", "probe, heeded"),
        ("llama", torch.float32, "none", "shared", "entropy"),
        ("gemma3_text", torch.bfloat16, "none", "roles", "safety"),
        ("gpt_oss", torch.float16, "none", "shared", "probe, heeded"),
        (
            "deepseek_v3",
            torch.bfloat16,
            "none",
            "roles",
            "entropy",
        ),  # MLA: served by PyTorch ops, not captured
    ],
)
def test_in_cuda_graphs(name, dtype, compile, arrangement, who):
    def make():
        torch._dynamo.reset()
        changes = {} if name == "deepseek_v3" else {"head_dim": 64}
        return make_engine(name, dtype, lambda m: GraphRunner(m, compile=compile), "cuda", changes)

    asking, plain = pair(make, who, arrangement, temperature=1.1, seed=3)
    assert compare(asking, plain, 1 + 16) >= 2
    runners = [stepper.engine.runner for stepper in (asking, plain)]
    assert name in ("deepseek_v3", "gpt_oss") or not any(runner.why_eager for runner in runners)


@pytest.mark.cuda
@pytest.mark.usefixtures("quick_collections")
def test_company_in_cuda_graphs():
    """Five sessions in the same forwards, one of which asks, or does not: all of them are what they are without."""
    policies = (make_policy("probe", every=3, margin=1e9), make_policy("fixed-ratio", think=9999))
    made = [make_engine("llama", torch.bfloat16, GraphRunner, "cuda", {"head_dim": 64}) for _ in policies]
    blocks, asked_of = [], []
    for engine, policy in zip(made, policies, strict=True):
        ones = [Stepper(engine, one, max_forwards=400) for one in ("always-on", policy, *["always-on"] * 3)]
        asked_of.append(asked([event for _ in range(20) for _, told in engine.forward() for event in told]))
        blocks.append([entries(one) for one in ones])
    assert asked_of[0] > 2 and asked_of[1] == 0
    for before, after in zip(*blocks, strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("most", [1024, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_sessions_are_not_disturbed_either(dtype, most):
    """Five sessions in the same forwards, also where there is not room for all; one of them asks, or does not."""
    blocks, forwards = [], []
    for policy in (make_policy("probe", every=3, margin=1e9), make_policy("fixed-ratio", think=9999)):
        engine = make_engine("toy", dtype, max_forward_tokens=most)
        policies = ["always-on", policy, *["always-on"] * 3]
        prompts = dataclasses.replace(PROMPTS, probe_question="[?]")
        ones = [Stepper(engine, one, prompts=prompts, max_forwards=400) for one in policies]
        events = [event for _ in range(900 // most + 16) for _, told in engine.forward() for event in told]
        assert (asked(events) > 2) == (policy.name == "probe")
        blocks.append([entries(one) for one in ones])
        forwards.append([one.session.forwards for one in ones])
    assert forwards[0] == forwards[1] and min(forwards[0]) > 10
    assert (most > 6) == (len(set(forwards[0])) == 1)
    for before, after in zip(*blocks, strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_text_pushed_to_a_silent_writer_is_written_once():
    """Also its last token, from which the writer's doubt is measured again and again."""
    asking, plain = pair(lambda: make_engine("toy", torch.float32), "entropy", "roles")
    written = []
    for stepper in (asking, plain):
        run(stepper, 3)
        stepper.session.protocol.push("(hint)", "writer")
        run(stepper, 1)
        written.append(entries(stepper))
    assert asked(run(asking, 3)) == 1
    run(plain, 3)
    for key, values in written[0].items():
        if key[0] == "answer":
            assert torch.equal(values, written[1][key]) and torch.equal(values, entries(asking)[key]), key
    assert asking.session.blocks.tokens("answer")[-6:] == TOKENIZER.encode("(hint)")
    assert_same_bytes(asking, plain)


@pytest.mark.demo
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_real_model(arrangement, dtype):
    """With the prompts and questions that it gets."""
    model, tokenizer = loading.load("demo", device="cpu", dtype=dtype)
    policy, _, think = ASKING["probe, heeded"]
    plain = make_policy("fixed-ratio", think=think, write=10_000)
    options = {"arrangement": arrangement, "prompts": None, "temperature": 0.8, "seed": 2}
    options["forbidden_tokens"] = [tokenizer.eos_token_id]
    asking, expected = (Stepper(hogwild.Engine(model, tokenizer), one, **options) for one in (policy, plain))
    assert compare(asking, expected, 1 + 14) >= 2
