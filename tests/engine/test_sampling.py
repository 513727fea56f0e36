"""Sampling: the settings, Hugging Face's processors, and draws that depend on nobody else."""

import math
import os
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from hogwild.engine.batch_sampler import BatchSampler, Request
from hogwild.engine.sampler import Sampler
from hogwild.engine.sampling import MIN_TEMPERATURE, SamplingParams

VOCAB = 50

settings = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    top_k=st.sampled_from([0, 1, 5, 60]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
    forbidden_tokens=st.sampled_from([(), (3,), (0, 7, 49)]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    seed=st.integers(0, 3),
)


@pytest.fixture(scope="module")
def model():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, num_key_value_heads=1, **sizes))


def generate_processors(model, params):
    """What `generate` itself builds for these settings."""
    config = GenerationConfig(
        do_sample=not params.greedy,
        temperature=None if params.greedy else params.temperature,
        top_p=None if params.greedy else params.top_p,
        top_k=None if params.greedy else params.top_k,
        min_p=None if params.greedy or not params.min_p else params.min_p,
        suppress_tokens=list(params.forbidden_tokens) or None,
        repetition_penalty=params.repetition_penalty,
    )
    return model._get_logits_processor(config, input_ids_seq_length=4, device="cpu")


def processed(model, params, text, logits):
    """[vocab] scores by `generate`'s own processors."""
    return generate_processors(model, params)(torch.tensor([list(text)]), logits[None].float().clone())[0]


def pick(sampler, logits, fed=(), batch=None):
    """(token, log-probability) of one worker alone."""
    (outcome,) = (batch or BatchSampler()).sample(logits[None], [Request(sampler, fed)])
    return outcome.token, outcome.logprob


@given(settings, st.integers(0, 1000), st.booleans())
def test_a_sample_has_the_probability_that_generate_gives_it(model, params, seed, ties):
    generator = torch.Generator().manual_seed(seed)
    fed = torch.randint(VOCAB, (4,), generator=generator).tolist()
    logits = torch.randn(VOCAB, generator=generator) * 4
    if ties and params.top_p == 1:  # which of several equals top-p leaves out is anybody's guess
        logits = logits.round()
    token, logprob = pick(Sampler(params.replace(logprobs=True)), logits, fed)
    scores = processed(model, params, fed, logits)
    assert scores[token].isfinite()
    assert logprob == pytest.approx(float(scores.log_softmax(-1)[token]), abs=1e-5)
    if params.greedy:
        assert token == int(scores.argmax())


def drawn_by_generates_processors(model, sampler, text, logits):
    """One random number through the cumulative distribution of what `generate` would draw from."""
    scores = processed(model, sampler.params, text, logits)
    if sampler.params.greedy:
        return int(scores.argmax())
    cumulative = scores.softmax(-1).double().cumsum(-1)
    return int((cumulative > sampler.uniform * cumulative[-1]).nonzero()[0])


@given(st.lists(settings, min_size=1, max_size=7), st.integers(0, 1000))
def test_workers_of_all_settings_together_draw_what_each_draws_alone(model, params, seed):
    """Several forwards, with texts that grow: tokens are those of Hugging Face's processors, row by row."""
    generator = torch.Generator().manual_seed(seed)
    samplers = [Sampler(p, index) for index, p in enumerate(params)]
    texts = [[] for _ in params]
    batch = BatchSampler()
    for forward in range(4):
        logits = torch.randn(len(params), VOCAB, generator=generator) * 3
        fed = [torch.randint(VOCAB, (1 + forward % 2,), generator=generator).tolist() for _ in params]
        if forward == 2:  # a forward that is repeated
            batch.sample(logits, [Request(s, f) for s, f in zip(samplers, fed, strict=True)])
        outcomes = batch.sample(logits, [Request(s, f) for s, f in zip(samplers, fed, strict=True)])
        for sampler, text, new, line, outcome in zip(samplers, texts, fed, logits, outcomes, strict=True):
            expected = drawn_by_generates_processors(model, sampler, text + new, line)
            assert outcome.token == expected and outcome.finite
            text.extend(new)
            sampler.accept(new)


@pytest.mark.parametrize("top_k", [1, 5, 40])
def test_more_tokens_tie_with_the_last_of_the_top_k_than_were_looked_at(model, top_k):
    """All of them can be drawn, as with Hugging Face, and a penalty is seen to as well."""
    vocab = 600
    logits = torch.zeros(vocab)
    logits[10:40] = 2.0
    params = SamplingParams(temperature=1.0, top_k=top_k, repetition_penalty=1.5, logprobs=True)
    sampler, batch, drawn = Sampler(params), BatchSampler(), set()
    text = []
    for _ in range(40):
        token, logprob = pick(sampler, logits, [7], batch)
        text.append(7)
        scores = processed(model, params, text, logits)
        assert token == drawn_by_generates_processors(model, sampler, text, logits)
        assert logprob == pytest.approx(float(scores.log_softmax(-1)[token]), abs=1e-5)
        drawn.add(token)
        sampler.accept([7])
    assert len(drawn) > 10 and (top_k == 40) == (max(drawn) >= 40)


@given(
    st.integers(0, 1000), st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4, unique=True))
)
def test_probes_and_entropy_are_of_the_models_own_distribution(seed, sets):
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3
    logits[:, 3] = -math.inf
    sampler = Sampler(SamplingParams(temperature=0.5, top_k=2, forbidden_tokens=(1, 2)))
    requests = [
        Request(None, (), [[4, 5]]),
        Request(sampler, (1,), sets, entropy=True),
        Request(None, entropy=True),
    ]
    first, second, third = BatchSampler().sample(logits, requests)
    p = logits.double().softmax(-1)
    assert first.probe == pytest.approx([float(p[0, [4, 5]].sum().log())], abs=1e-5)
    assert first.token is None and first.entropy is None
    assert second.probe == pytest.approx([float(p[1, ids].sum().log()) for ids in sets], abs=1e-5)
    assert second.token == pick(sampler, logits[1])[0] and third.probe == ()
    entropies = [float(-(line[line > 0] * line[line > 0].log()).sum()) for line in p]
    assert [second.entropy, third.entropy] == pytest.approx(entropies[1:], abs=1e-5)


def test_rows_that_are_not_finite_are_told_apart():
    logits = torch.randn(4, VOCAB)
    logits[1, 7], logits[2, 9] = math.nan, math.inf
    samplers = [Sampler(SamplingParams(temperature=1.0, top_k=5)) for _ in range(4)]
    outcomes = BatchSampler().sample(logits, [Request(s) for s in samplers])
    assert [outcome.finite for outcome in outcomes] == [True, False, False, True]
    assert [outcomes[row].token for row in (0, 3)] == [pick(samplers[row], logits[row])[0] for row in (0, 3)]


def test_texts_of_workers_that_are_gone_do_not_weigh_on_others():
    batch, logits = BatchSampler(), torch.ones(VOCAB)
    for token in range(40):  # more workers than there are lines at first
        sampler = Sampler(SamplingParams(repetition_penalty=2.0))
        assert pick(sampler, logits, [token], batch)[0] == (1 if token == 0 else 0)
        sampler.accept([token])
        assert pick(sampler, logits, [49], batch)[0] == (1 if token == 0 else 0)
        del sampler


def test_draws_follow_the_distribution():
    logits = torch.tensor([0.0, 1.0, 2.0, -30.0, 1.5])
    sampler = Sampler(SamplingParams(temperature=1.0))
    counts = torch.zeros(5)
    n = 4000
    for _ in range(n):
        counts[pick(sampler, logits)[0]] += 1
        sampler.accept([])
    expected = logits.softmax(-1)
    deviation = (expected * (1 - expected) / n).sqrt()
    assert ((counts / n - expected).abs() <= 4 * deviation + 1e-9).all()


@pytest.mark.parametrize("top_k", [0, 3])
def test_tokens_of_no_probability_are_never_drawn(top_k):
    logits = torch.full((VOCAB,), -math.inf)
    logits[[7, 20, 49]] = torch.tensor([1.0, 2.0, 3.0])
    sampler = Sampler(SamplingParams(temperature=2.0, top_k=top_k))
    drawn = set()
    for _ in range(200):
        drawn.add(pick(sampler, logits)[0])
        sampler.accept([])
    assert drawn == {7, 20, 49}
    for edge in (0.0, 1.0 - 2.0**-53):
        sampler._uniforms = [edge]
        assert pick(sampler, logits)[0] in drawn


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 3, "top_p": 0.9}]
)
def test_a_vocabulary_that_is_forbidden_altogether(options):
    sampler = Sampler(SamplingParams(forbidden_tokens=range(VOCAB), **options))
    assert pick(sampler, torch.randn(VOCAB)) == (None, None)
    one = Sampler(SamplingParams(forbidden_tokens=[i for i in range(VOCAB) if i != 7], **options))
    assert pick(one, torch.randn(VOCAB))[0] == 7


@pytest.mark.parametrize("top_k", [0, 5])
def test_log_probabilities_at_the_lowest_temperature(top_k):
    """Of two tokens that tie at a logit of 7: divided by the temperature, fp32 knows it to 0.06 only."""
    logits = torch.full((50,), -3.0)
    logits[[4, 9]] = 7.0
    params = SamplingParams(temperature=MIN_TEMPERATURE, top_k=top_k, logprobs=True)
    _, logprob = pick(Sampler(params), logits)
    assert logprob == pytest.approx(-math.log(2), abs=1e-6)


def test_the_lowest_temperature_is_nearly_greedy():
    logits = torch.randn(VOCAB) * 30
    assert pick(Sampler(SamplingParams(temperature=1e-5)), logits)[0] == int(logits.argmax())


def stream(seed, index, n=30):
    logits = torch.zeros(1000)
    sampler = Sampler(SamplingParams(temperature=1.0, seed=seed), index)
    tokens = []
    for _ in range(n):
        tokens.append(pick(sampler, logits)[0])
        sampler.accept(tokens[-1:])
    return tokens


def test_draws_are_a_function_of_seed_and_worker():
    streams = {(seed, index): tuple(stream(seed, index)) for seed in range(3) for index in range(3)}
    assert len(set(streams.values())) == 9  # also not the same where seed + index are
    assert stream(2, 1) == list(streams[2, 1])


def test_a_sample_is_repeatable_until_it_is_accepted():
    logits = torch.zeros(1000)
    sampler = Sampler(SamplingParams(temperature=1.0, repetition_penalty=1.5))
    batch = BatchSampler()
    first = pick(sampler, logits, [1, 2], batch)
    assert pick(sampler, logits, [1, 2], batch) == first
    sampler.accept([1, 2])
    assert pick(sampler, logits, [3], batch) != first


def test_a_ctrl_c_loses_no_draw(monkeypatch):
    draw = torch.rand

    def interrupted(*args, **kwargs):
        numbers = draw(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGINT)
        return numbers

    params = SamplingParams(temperature=1.0, seed=7)
    sampler = Sampler(params)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "rand", interrupted)
        _ = sampler.uniform
    assert sampler.uniform == Sampler(params).uniform


def test_repetition_penalty_sees_all_of_the_workers_text():
    logits = torch.ones(1000)
    logits[:900] = 1.5
    sampler = Sampler(SamplingParams(repetition_penalty=2.0))
    batch = BatchSampler()
    for token in range(900):
        assert pick(sampler, logits, [token], batch)[0] == (token + 1 if token < 899 else 900)
        sampler.accept([token])


def test_logits_are_left_alone():
    logits = torch.randn(VOCAB)
    before = logits.clone()
    params = SamplingParams(temperature=0.5, top_k=3, forbidden_tokens=(1,), repetition_penalty=2.0)
    pick(Sampler(params), logits, [4])
    assert torch.equal(logits, before)


def test_low_precision_logits():
    logits = torch.randn(VOCAB, dtype=torch.bfloat16)
    assert pick(Sampler(SamplingParams(forbidden_tokens=(1,))), logits)[0] == int(
        logits.index_fill(0, torch.tensor([1]), -math.inf).argmax()
    )


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"temperature": -1.0}, ValueError, "temperature: expected a finite number >= 0"),
        ({"temperature": 1e-40}, ValueError, "temperature: .* at least 1e-05.*, got 1e-40"),
        ({"temperature": math.nan}, ValueError, "temperature"),
        ({"temperature": "hot"}, TypeError, "temperature: expected .* got 'hot'"),
        ({"temperature": True}, TypeError, "temperature"),
        ({"top_p": 0.0}, ValueError, r"top_p: expected a number in \(0, 1\].* got 0.0"),
        ({"top_p": 1.5}, ValueError, "top_p"),
        ({"min_p": -0.1}, ValueError, "min_p"),
        ({"top_k": -1}, ValueError, "top_k: expected an integer >= 0, got -1"),
        ({"top_k": 1.5}, TypeError, "top_k"),
        ({"repetition_penalty": 0.0}, ValueError, "repetition_penalty"),
        ({"seed": None}, TypeError, "seed"),
        ({"forbidden_tokens": [1, -2]}, ValueError, "forbidden_tokens: .* got -2"),
        ({"forbidden_tokens": ["a"]}, TypeError, "forbidden_tokens"),
    ],
)
def test_wrong_settings_are_named(options, error, message):
    with pytest.raises(error, match=message):
        SamplingParams(**options)


def test_settings_a_model_was_published_with():
    published = GenerationConfig(do_sample=True, temperature=0.6, top_k=20, top_p=0.95)
    assert SamplingParams.from_generation_config(published, seed=4) == SamplingParams(
        temperature=0.6, top_k=20, top_p=0.95, seed=4
    )
    assert SamplingParams.from_generation_config(published, temperature=0.0, top_k=None).greedy
    # not sampling by default: its warpers do not count, and a given temperature starts from plain sampling
    published = GenerationConfig(do_sample=False, temperature=0.6, top_k=20, suppress_tokens=[5])
    assert SamplingParams.from_generation_config(published) == SamplingParams(forbidden_tokens=(5,))
    assert SamplingParams.from_generation_config(published, temperature=0.3).top_k == 0
    assert SamplingParams.from_generation_config(GenerationConfig(do_sample=True)) == SamplingParams(
        temperature=1.0,
        top_k=50,  # what generate does
    )
    assert SamplingParams.from_generation_config(GenerationConfig(do_sample=True, top_k=0)).top_k == 0
    assert SamplingParams.from_generation_config(None, top_p=0.5) == SamplingParams(
        top_p=0.5, temperature=1.0
    )
    assert SamplingParams.from_generation_config(GenerationConfig(), top_k=5).temperature == 1.0
    assert SamplingParams.from_generation_config(None, top_p=0.5, temperature=0.0).greedy
    assert SamplingParams.from_generation_config(None, seed=5).greedy
