"""What goes wrong changes nothing: blocks stay as they were, other sessions go on, and so does the engine."""

import os
import signal

import pytest
import torch
from interrupting import interrupt_at
from tiny import (
    PROMPT,
    STOCHASTIC,
    TOKENIZER,
    Writers,
    contents,
    drive,
    make_engine,
    make_model,
    undisturbed,
    writers,
)

from fakes import ToyTokenizer
from hogwild.cache.view import ViewSpec
from hogwild.engine.batch_sampler import BatchSampler
from hogwild.engine.events import FinishEvent, TokenEvent
from hogwild.engine.feed import Feed
from hogwild.engine.runner import EagerRunner
from hogwild.engine.sampler import NoTokenLeftError
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import BlockError, HogwildError, NonFiniteLogitsError
from hogwild.models import enable
from hogwild.protocols import CollaborationProtocol
from runners import BusyDevice


@pytest.fixture
def model():
    return make_model()


def finish_of(session):
    return next(event for event in session.take_events() if isinstance(event, FinishEvent))


# ------------------------------------------------------------------ interruptions of a forward


class Once:
    """Raises, or sends a signal, at the n-th call of something."""

    def __init__(self, call, error):
        self.call, self.error, self.calls = call, error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.call:
            if self.error is signal.SIGINT:
                os.kill(os.getpid(), signal.SIGINT)
            else:
                raise self.error


def in_model(model, monkeypatch, once):
    model.register_forward_pre_hook(lambda *_: once())


def in_second_layer(model, monkeypatch, once):
    model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: once())


def after_model(model, monkeypatch, once):
    model.register_forward_hook(lambda *_: once())


def in_sampling(model, monkeypatch, once):
    start = BatchSampler.start

    def sample_and_fail(self, *args):
        outcomes = start(self, *args)
        once()
        return outcomes

    monkeypatch.setattr(BatchSampler, "start", sample_and_fail)


CTRL_C = {"KeyboardInterrupt": KeyboardInterrupt(), "SIGINT": signal.SIGINT}
INTERRUPTIONS = [
    pytest.param(place, error, id=f"{name} {place.__name__}")
    for place in (in_model, in_second_layer, after_model, in_sampling)
    for name, error in {**CTRL_C, "MemoryError": MemoryError("no memory")}.items()
]


@pytest.mark.parametrize("place, error", INTERRUPTIONS)
def test_an_interrupted_forward_can_be_repeated(model, monkeypatch, place, error):
    expected = undisturbed(lambda: writers(sampling=STOCHASTIC))
    engine = make_engine(model, max_forward_tokens=16)  # the prompt takes several forwards
    protocols = [writers(sampling=STOCHASTIC) for _ in range(2)]
    sessions = [engine.open(protocol) for protocol in protocols]
    once = Once(0, error)
    place(model, monkeypatch, once)
    caught = 0
    while not all(session.finished for session in sessions):
        before = [contents(session) for session in sessions]
        pages = engine.pool.used_pages
        said = [{worker: list(tokens) for worker, tokens in p.said.items()} for p in protocols]
        once.calls, once.call = 0, 1
        try:
            engine.forward()
        except (KeyboardInterrupt, MemoryError):
            caught += 1
            assert [contents(session) for session in sessions] == before
            assert engine.pool.used_pages == pages
            assert [p.said for p in protocols] == said
            once.call = 0
            engine.forward()
    assert caught >= 12
    assert [protocol.said for protocol in protocols] == [expected] * 2


def test_an_interrupt_while_results_are_handed_over_comes_after(model):
    """A Ctrl-C in the middle of the hand-over: all is committed and told, and then it is raised."""

    class Interrupted(Writers):
        def receive(self, results):
            if not self.said["w0"]:
                os.kill(os.getpid(), signal.SIGINT)
            return super().receive(results)

    engine = make_engine(model)
    protocols = [Interrupted(PROMPT, [(5, 6), (11,)], count=6), writers(6)]
    sessions = [engine.open(protocol) for protocol in protocols]
    with pytest.raises(KeyboardInterrupt):
        engine.forward()
    assert [len(protocol.said["w1"]) for protocol in protocols] == [1, 1]
    while not all(session.finished for session in sessions):
        engine.forward()
    assert [protocol.said for protocol in protocols] == [undisturbed(lambda: writers(6))] * 2


def test_an_interrupted_stream_frees_its_pages(model):
    engine = make_engine(model)
    once = Once(5, KeyboardInterrupt())
    in_second_layer(model, None, once)
    with pytest.raises(KeyboardInterrupt):
        list(engine.stream(writers()))
    assert engine.pool.used_pages == 0
    again = writers()
    assert list(engine.stream(again))[-1].reason == "max_forwards"
    assert again.said == undisturbed(writers)


# ------------------------------------------------------------------ failures of one session


class Faulty(Writers):
    """Fails with `error` in its third `where`."""

    def __init__(self, where, error):
        super().__init__(PROMPT, [(5, 6), (11,)], count=12)
        self._where, self._error = where, error

    def _maybe_fail(self, where):
        if where == self._where and len(self.said["w0"]) == 2:
            raise self._error

    def feeds(self):
        self._maybe_fail("feeds")
        return super().feeds()

    def receive(self, results):
        self._maybe_fail("receive")
        return super().receive(results)


@pytest.mark.parametrize("where", ["feeds", "receive"])
def test_a_failing_protocol_ends_its_own_session_only(model, where):
    engine = make_engine(model)
    faulty, fine = Faulty(where, ZeroDivisionError("oops")), writers()
    bad, good = drive(engine, faulty, fine)
    assert isinstance(bad.error, ZeroDivisionError) and good.error is None
    assert fine.said == undisturbed(writers)
    assert len(faulty.said["w0"]) == 2
    with pytest.raises(ZeroDivisionError, match="oops"):
        list(make_engine(model).stream(Faulty(where, ZeroDivisionError("oops"))))


def test_a_keyboard_interrupt_raised_by_a_protocol_reaches_the_caller_and_loses_nothing(model):
    engine = make_engine(model)
    faulty, fine = Faulty("receive", KeyboardInterrupt()), writers()
    bad, good = engine.open(faulty), engine.open(fine)
    with pytest.raises(KeyboardInterrupt):
        while not good.finished:
            engine.forward()
    assert len(fine.said["w0"]) == 3  # the others heard of the same forward
    while not good.finished:
        engine.forward()
    assert fine.said == undisturbed(writers)
    assert bad.finished and isinstance(bad.error, KeyboardInterrupt)


def test_a_protocol_that_cannot_start_leaves_nothing(model):
    class Broken(Writers):
        def start(self, store):
            super().start(store)
            raise RuntimeError("cannot start")

    engine = make_engine(model)
    with pytest.raises(RuntimeError, match="cannot start"):
        engine.open(Broken(PROMPT))
    assert engine.forward() == []


def test_a_protocol_runs_once(model):
    engine = make_engine(model)
    protocol = writers(3)
    list(engine.stream(protocol))
    said = {worker: list(tokens) for worker, tokens in protocol.said.items()}
    with pytest.raises(HogwildError, match="protocol 'writers': a protocol object runs once"):
        list(engine.stream(protocol))
    again = writers(3)
    with pytest.raises(HogwildError, match="runs once"):
        list(engine.run([again, again]))
    assert protocol.said == said and engine.pool.used_pages == 0
    assert engine.forward() == []


def test_the_finish_event_of_a_failure_says_what_happened(model):
    engine = make_engine(model)
    events = []
    with pytest.raises(ZeroDivisionError):
        for event in engine.stream(Faulty("receive", ZeroDivisionError("oops"))):
            events.append(event)
    assert isinstance(events[-1], FinishEvent)
    assert (events[-1].reason, events[-1].message) == ("error", "ZeroDivisionError: oops")
    assert engine.pool.used_pages == 0
    runs = list(engine.run([Faulty("receive", ZeroDivisionError("oops")), writers()]))
    assert [event.reason for _, event in runs if isinstance(event, FinishEvent)] == ["error", "max_forwards"]


def test_two_workers_that_write_to_one_block(model):
    class Colliding(Writers):
        def feeds(self):
            view = ViewSpec(("prompt",), "prompt")
            return [Feed("w0", (1,), view), Feed("w1", (2,), view)]

    engine = make_engine(model)
    fine = writers()
    bad, _ = drive(engine, Colliding(PROMPT, [(1,), (2,)]), fine)
    assert isinstance(bad.error, BlockError)
    assert "workers 'w0' and 'w1' both write to block 'prompt' in one forward" in str(bad.error)
    assert contents(bad) == {"prompt": [], "w0": [], "w1": []}
    assert fine.said == undisturbed(writers)


def test_a_view_of_a_block_that_is_not_there(model):
    class Lost(Writers):
        def feeds(self):
            return [Feed("w0", (1,), ViewSpec(("prompt", "notes"), "notes"))]

    (session,) = drive(make_engine(model), Lost(PROMPT))
    assert "unknown block 'notes'" in str(session.error)


@pytest.mark.parametrize("token", [10**6, len(TOKENIZER.vocab), -1, 2.5, "a", None])
def test_a_token_that_the_model_does_not_have_ends_its_own_session_only(model, token):
    class Misspelled(Writers):
        def feeds(self):
            if len(self.said["w0"]) == 2:
                self._pending["w1"] = (token,)
            return super().feeds()

    bad, fine = Misspelled(PROMPT, [(5, 6), (11,)]), writers()
    first, _ = drive(make_engine(model), bad, fine)
    assert isinstance(first.error, (ValueError, TypeError)) and repr(token) in str(first.error)
    assert "worker 'w1'" in str(first.error) and len(bad.said["w1"]) == 2
    assert fine.said == undisturbed(writers)


def test_a_worker_that_the_protocol_does_not_have(model):
    class Stranger(Writers):
        def feeds(self):
            return [Feed("Eve", (1,), ViewSpec(("prompt",), "prompt"))]

    (session,) = drive(make_engine(model), Stranger(PROMPT))
    assert str(session.error) == "unknown worker 'Eve'; expected one of: w0"
    assert contents(session)["prompt"] == []


# ------------------------------------------------------------------ logits that are not numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_end_their_session_before_the_commit(model, monkeypatch, value):
    engine = make_engine(model)
    bad, good = writers(sampling=STOCHASTIC), writers(sampling=STOCHASTIC)
    first, second = engine.open(bad, name="broken"), engine.open(good)
    run = engine.runner.run

    def poisoned(plan, rows):
        logits = run(plan, rows).clone()
        if len(bad.said["w0"]) == 4 and not first.finished:
            # rows of the session, in packed order: w0, w1
            row = next(i for i, view in enumerate(plan.views) if view.write_to is first.blocks["w1"])
            logits[row] = value
        return logits

    monkeypatch.setattr(engine.runner, "run", poisoned)
    while not second.finished:
        before = contents(first)
        engine.forward()
        if first.finished:
            assert contents(first) == before
    assert isinstance(first.error, NonFiniteLogitsError)
    assert "broken" in str(first.error) and "'w1'" in str(first.error)
    expected = undisturbed(lambda: writers(sampling=STOCHASTIC))
    assert good.said == expected
    assert bad.said == {worker: tokens[:4] for worker, tokens in expected.items()}


def test_a_model_of_nans(model):
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLogitsError, match=r"session 1: .* worker 'w0'"):
        list(make_engine(model).stream(writers()))


def test_single_logits_of_minus_infinity_are_fine(model, monkeypatch):
    engine = make_engine(model)
    run = engine.runner.run

    def masked(plan, rows):
        logits = run(plan, rows).clone()
        logits[:, 50:] = float("-inf")
        return logits

    monkeypatch.setattr(engine.runner, "run", masked)
    protocol = writers(sampling=SamplingParams(temperature=1.0))
    drive(engine, protocol)
    assert all(token < 50 for tokens in protocol.said.values() for token in tokens)


def test_settings_that_leave_no_token_end_their_session_only(model):
    forbidden = range(len(TOKENIZER.vocab))
    bad, fine = writers(sampling=SamplingParams(forbidden_tokens=forbidden)), writers()
    first, _ = drive(make_engine(model), bad, fine)
    assert isinstance(first.error, NoTokenLeftError) and bad.said == {"w0": [], "w1": []}
    assert fine.said == undisturbed(writers)


# ------------------------------------------------------------------ sessions


def test_cancel_and_close(model):
    engine = make_engine(model)
    protocol = writers()
    with engine.open(protocol) as session:
        engine.forward()
        session.take_events()
        session.cancel()
        session.cancel()
        (finish,) = session.take_events()
        assert (finish.reason, finish.forwards, finish.tokens) == ("cancelled", 1, 2)
        assert engine.forward() == [] and len(protocol.said["w0"]) == 1
        assert engine.pool.used_pages > 0
    assert session.closed and engine.pool.used_pages == 0
    session.close()


def test_events_are_told_once(model):
    engine = make_engine(model)
    session = engine.open(writers(2))
    told = [event for _ in range(5) for _, events in engine.forward() for event in events]
    assert sum(isinstance(event, TokenEvent) for event in told) == 4
    assert session.take_events() == []


def test_collaboration_survives_interruptions(model):
    """Steps end and move between interruptions, and the text is that of a run without any."""

    def make():
        sampling = SamplingParams(temperature=0.9, seed=1)
        return CollaborationProtocol(
            "Go.", ToyTokenizer(["\n\n", ".\n\n"]), 3, prompt=PROMPT, max_forwards=25, sampling=sampling
        )

    def run(model, interrupted):
        engine = make_engine(model)
        if interrupted:
            once = Once(0, KeyboardInterrupt())
            in_second_layer(model, None, once)
        session, events = engine.open(make()), []
        while not session.finished:
            if interrupted:
                once.calls, once.call = 0, 1
                with pytest.raises(KeyboardInterrupt):
                    engine.forward()
                once.call = 0
            events += [event for _, told in engine.forward() for event in told]
        tokens = [(e.worker, e.token, e.source) for e in events if isinstance(e, TokenEvent)]
        return tokens, contents(session)

    assert run(make_model(), interrupted=True) == run(make_model(), interrupted=False)


@pytest.mark.parametrize("runner", [EagerRunner, BusyDevice])
def test_an_interrupt_at_any_line_of_a_forward(model, runner):
    def make():
        return writers(150, sampling=STOCHASTIC)

    engine = make_engine(model, runner=runner(enable(model)))
    protocols = [make(), make()]
    sessions = [engine.open(protocol) for protocol in protocols]
    engine.forward()
    lines = interrupt_at(0, engine.forward)
    assert lines > 300
    interrupted = 0
    for line in range(1, lines, 13):
        before = [contents(session) for session in sessions]
        said = [len(protocol.said["w1"]) for protocol in protocols]
        try:
            interrupt_at(line, engine.forward)
        except KeyboardInterrupt:
            interrupted += 1
        told = [len(protocol.said["w1"]) for protocol in protocols]
        if told == said:
            assert [contents(session) for session in sessions] == before
        else:  # late enough: then all of it happened
            assert told == [count + 1 for count in said]
        held = {page for s in sessions for name in s.blocks.names() for page in s.blocks[name].pages}
        assert engine.pool.used_pages == len(held)
        if all(session.finished for session in sessions):
            break
    assert interrupted > 20
    while not all(session.finished for session in sessions):
        engine.forward()
    assert [protocol.said for protocol in protocols] == [undisturbed(make)] * 2
