"""Limits of the model and of the pool: told before anything changes, and sessions can go on."""

import pytest
import torch
from tiny import (
    PROMPT,
    STOCHASTIC,
    TOKENIZER,
    Writers,
    contents,
    make_engine,
    make_model,
    undisturbed,
    writers,
)

from hogwild.cache import Pool
from hogwild.cache.layer import LayerCache
from hogwild.cache.view import ViewSpec
from hogwild.engine.events import FinishEvent, TokenEvent
from hogwild.engine.feed import Feed
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import ContextLengthError, PoolExhausted, UnknownNameError
from hogwild.prompting import StepRule
from hogwild.protocols import CollaborationProtocol


@pytest.fixture
def model():
    return make_model()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no more"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("run", ["stream", "submit"])
def test_a_pool_that_finds_out_that_it_cannot_grow(model, monkeypatch, error, run):
    """From then on it has a limit, and sessions wait for each other."""
    grown = LayerCache.grown

    def fail(self, pages):
        if pages > 64:
            raise error
        return grown(self, pages)

    monkeypatch.setattr(LayerCache, "grown", fail)
    engine = make_engine(model, page_size=16)
    protocols = [writers(60) for _ in range(12)]
    if run == "stream":
        ends = [event for _, event in engine.run(protocols) if isinstance(event, FinishEvent)]
    else:
        with engine:
            ends = [handle.result(120) for handle in [engine.submit(protocol) for protocol in protocols]]
    assert [end.reason for end in ends] == ["max_forwards"] * 12 and engine.pool.max_pages == 64
    expected = undisturbed(lambda: writers(60))
    assert all(protocol.said == expected for protocol in protocols)


def test_other_errors_while_a_pool_grows_are_raised(monkeypatch):
    pool = Pool(page_size=16)
    k = torch.zeros(1, 1, 8)
    pool.layer(0, k, k)
    monkeypatch.setattr(LayerCache, "grown", lambda self, pages: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pool.allocate(65)
    assert pool.max_pages is None and len(pool.allocate(64)) == 64


def test_why_a_view_may_not_be_longer(model):
    protocol = Writers(PROMPT, [(5,)], count=5)
    with pytest.raises(ContextLengthError, match="max_length, as the model was enabled, is 20"):
        list(make_engine(model, max_length=20).stream(protocol))
    odd = Writers(PROMPT, [(5,)])
    odd.max_length = "20"
    with pytest.raises(
        TypeError, match="max_length of protocol 'writers': expected an integer >= 1, got '20'"
    ):
        make_engine(model).submit(odd)


def test_a_view_longer_than_the_models_positions():
    engine = make_engine(make_model(max_position_embeddings=len(PROMPT) + 10))
    long, short = Writers(PROMPT, [(5,), (6,)], count=30), Writers(PROMPT[:9], [(5,), (6,)], count=10)
    first, second = engine.open(long, name="long"), engine.open(short)
    while not first.finished:
        before = contents(first)
        engine.forward()
    assert isinstance(first.error, ContextLengthError)
    limit = len(PROMPT) + 10
    message = f"long: the view of worker 'w0' would hold {limit + 2} tokens"
    assert message in str(first.error) and f"positions for {limit}" in str(first.error)
    assert contents(first) == before and len(long.said["w0"]) == 5
    while not second.finished:
        engine.forward()
    assert len(short.said["w0"]) == 10


@pytest.mark.parametrize("wrong", ["long", "a block that is not there"])
def test_what_cannot_be_is_told_before_a_long_prompt_is_written(wrong):
    """A prompt takes several forwards; none of them runs where a later one would be refused."""
    engine = make_engine(make_model(max_position_embeddings=64), max_forward_tokens=16)
    prompt = (PROMPT * 9)[: 65 if wrong == "long" else 48]
    protocol = Writers(prompt)
    if wrong != "long":
        feeds = protocol.feeds
        elsewhere = Feed("w0", (5,), ViewSpec(("prompt", "elsewhere", "w0"), "w0"))
        protocol.feeds = lambda: [*feeds()[:1], elsewhere]
    session, short = engine.open(protocol, name="long"), engine.open(Writers(PROMPT[:9], count=3))
    engine.forward()
    assert session.finished and session.forwards == 0 and len(session.blocks["prompt"]) == 0
    if wrong == "long":
        assert isinstance(session.error, ContextLengthError) and "would hold 65 tokens" in str(session.error)
    else:
        assert isinstance(session.error, UnknownNameError) and "'elsewhere'" in str(session.error)
    while not short.finished:
        engine.forward()
    assert len(short.protocol.said["w0"]) == 3


@pytest.mark.parametrize("more", [0, 1])
def test_the_longest_prompt_that_fits(more):
    """What workers write counts where they see it, and in the forward in which they do."""
    limit = 48 + 2 + more  # the prompt, and a token of each worker
    engine = make_engine(make_model(max_position_embeddings=limit), max_forward_tokens=16)
    session = engine.open(Writers((PROMPT * 9)[:48], [(5,), (6,)], count=2))
    while not session.finished:
        engine.forward()
    assert isinstance(session.error, ContextLengthError) and session.error.length == 52
    assert session.forwards == 4 and len(session.blocks["prompt"]) == 48


def test_a_full_pool_leaves_sessions_usable(model):
    pool = Pool(page_size=16, max_tokens=16 * 9)
    engine = make_engine(model, pool=pool)
    other = engine.open(Writers(PROMPT, count=3))  # 4 pages
    while not other.finished:
        engine.forward()
    protocol = writers(40)
    session = engine.open(protocol)
    with pytest.raises(PoolExhausted) as caught:
        while not session.finished:
            engine.forward()
    assert caught.value.needed >= 1 and caught.value.free < caught.value.needed
    before = contents(session)
    with pytest.raises(PoolExhausted):
        engine.forward()
    assert contents(session) == before and not session.finished
    other.close()
    while not session.finished:
        engine.forward()
    assert protocol.said == undisturbed(lambda: writers(40))


def test_a_prompt_larger_than_the_pool(model):
    engine = make_engine(model, page_size=16, max_tokens=32)
    events = []
    with pytest.raises(PoolExhausted):
        for event in engine.stream(writers()):
            events.append(event)
    assert [event.reason for event in events if isinstance(event, FinishEvent)] == ["error"]
    assert events[-1].message.startswith("PoolExhausted: pool exhausted: ")
    assert engine.pool.used_pages == 0


def test_sessions_that_wait_for_the_pages_of_others(model):
    """Room for any one of them, not for all at once: all come to their ends, with the same text."""
    counts = [10, 40, 40]
    engine = make_engine(model, page_size=16, max_tokens=16 * 12)
    protocols = [writers(count, sampling=STOCHASTIC) for count in counts]
    finishes = {p: event.reason for p, event in engine.run(protocols) if isinstance(event, FinishEvent)}
    assert [finishes[protocol] for protocol in protocols] == ["max_forwards"] * 3
    for protocol, count in zip(protocols, counts, strict=True):
        assert protocol.said == undisturbed(lambda n=count: writers(n, sampling=STOCHASTIC))
    assert engine.pool.used_pages == 0


def test_a_session_too_large_for_the_pool_ends_alone(model):
    engine = make_engine(model, page_size=16, max_tokens=16 * 10)
    large, *small = Writers(PROMPT * 5, [(5, 6), (11,)], count=5), writers(12), writers(12)
    reasons, order = {}, []
    for protocol, event in engine.run([large, *small]):
        if isinstance(event, FinishEvent):
            reasons[protocol] = event
            order.append(protocol)
    assert order[0] is large  # nobody could ever make room for it
    assert reasons[large].reason == "error" and "PoolExhausted" in reasons[large].message
    assert [reasons[protocol].reason for protocol in small] == ["max_forwards"] * 2
    assert [protocol.said for protocol in small] == [undisturbed(writers)] * 2
    assert engine.pool.used_pages == 0


class ShortSteps(StepRule):
    def ends_step(self, text, piece):
        return len(text) > 5


def test_a_full_pool_when_steps_move(model):
    """No room at the end of the history: that is told, and nothing is lost once there is room again."""

    def make():
        sampling = SamplingParams(temperature=0.9, seed=1, forbidden_tokens=(0,))
        options = {"max_forwards": 60, "sampling": sampling, "rule": ShortSteps()}
        return CollaborationProtocol("Go.", TOKENIZER, 3, prompt=PROMPT, **options)

    def run(starve):
        engine = make_engine(make_model(), page_size=16, max_tokens=16 * 80)
        session, full, events = engine.open(make()), 0, []
        while not session.finished:
            held = engine.pool.allocate(engine.pool.free_pages if starve else 0)
            forwards = session.forwards
            try:
                events += [event for _, told in engine.forward() for event in told]
            except PoolExhausted:
                full += session.forwards > forwards  # after the forward, at the move
                with pytest.raises(PoolExhausted):
                    engine.forward()
                engine.pool.release(held)
                held = []
                events += [event for _, told in engine.forward() for event in told]
            engine.pool.release(held)
        tokens = [(e.worker, e.token, e.source) for e in events if isinstance(e, TokenEvent)]
        return tokens, contents(session), full

    *expected, _ = run(starve=False)
    *result, full = run(starve=True)
    assert full >= 3
    assert result == expected


@pytest.mark.parametrize("pages", [10, 11, 12, 13])
def test_a_stream_whose_steps_find_no_room(model, pages):
    sampling = SamplingParams(temperature=0.9, seed=1, forbidden_tokens=(0,))
    options = {"max_forwards": 60, "sampling": sampling, "rule": ShortSteps()}
    protocol = CollaborationProtocol("Go.", TOKENIZER, 3, prompt=PROMPT, **options)
    engine = make_engine(model, page_size=16, max_tokens=16 * pages)
    events = []
    with pytest.raises(PoolExhausted):
        for event in engine.stream(protocol):
            events.append(event)
    assert events[-1].reason == "error" and events[-1].tokens == 3 * events[-1].forwards > 0
    assert engine.pool.used_pages == 0
