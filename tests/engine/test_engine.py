"""The engine on a tiny model: the same tokens as plain Hugging Face, whatever the pieces and the company."""

import pytest
import torch
from tiny import TOKENIZER, Writers, contents, drive, make_engine, make_model

from fakes import ScriptedEngine
from hogwild.cache import Pool
from hogwild.engine.events import FinishEvent, StartEvent, StepEvent, TokenEvent
from hogwild.engine.sampling import SamplingParams
from hogwild.engine.trace import TraceWriter, read_trace
from hogwild.errors import ContextLengthError, HogwildError, UnsupportedModelError
from hogwild.models import binding_of, enable
from hogwild.prompting import StepRule
from hogwild.protocols import CollaborationProtocol, CollaborationResult, Engine

PROMPT = TOKENIZER.encode("The quick brown fox jumps over the lazy dog.")
STOCHASTIC = SamplingParams(temperature=1.2, top_k=40, top_p=0.95, min_p=0.01, repetition_penalty=1.1, seed=3)


class ShortSteps(StepRule):
    """Steps of a few characters: the tiny model never writes a sentence."""

    def ends_step(self, text, piece):
        return len(text) > 5


@pytest.fixture(scope="module")
def model():
    return make_model()


def plain_greedy(model, ids, count):
    """The plainest loop over the plain model: everything anew for every token."""
    ids = list(ids)
    for _ in range(count):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids[-count:]


@pytest.mark.parametrize("max_forward_tokens", [1024, 7, 1])
def test_one_worker_is_a_plain_loop(model, max_forward_tokens):
    protocol = Writers(PROMPT, [TOKENIZER.encode("So")], count=40)
    drive(make_engine(model, max_forward_tokens=max_forward_tokens), protocol)
    assert protocol.said["w0"] == plain_greedy(model, PROMPT + TOKENIZER.encode("So"), 40)


def company():
    return [
        Writers(PROMPT[::-1] * 3, [(7,), (9, 9, 9)], count=25, sampling=STOCHASTIC),
        Writers(PROMPT[:3], [(20,)], count=60),
        CollaborationProtocol("Go.", TOKENIZER, 3, prompt=PROMPT, max_forwards=30, sampling=STOCHASTIC),
    ]


@pytest.mark.parametrize("sampling", [SamplingParams(), STOCHASTIC], ids=["greedy", "sampled"])
@pytest.mark.parametrize("max_forward_tokens", [1024, 16])
def test_alone_and_in_company(model, sampling, max_forward_tokens):
    def make():
        return Writers(PROMPT, [(5, 6), (11,)], count=40, sampling=sampling)

    alone, accompanied = make(), make()
    drive(make_engine(model, max_forward_tokens=max_forward_tokens), alone)
    engine = make_engine(model, max_forward_tokens=max_forward_tokens)
    before, *after = company()
    drive(engine, before, accompanied, *after)
    assert accompanied.said == alone.said
    assert len(set(alone.said["w0"])) > 3  # not a constant


def test_a_session_that_joins_later_gets_the_same_tokens(model):
    alone, late = Writers(PROMPT, count=20), Writers(PROMPT, count=20)
    drive(make_engine(model), alone)
    engine = make_engine(model)
    first = engine.open(Writers(PROMPT[5:], [(4,), (5,)], count=30))
    for _ in range(7):
        engine.forward()
    second = engine.open(late)
    while not (first.finished and second.finished):
        engine.forward()
    assert late.said == alone.said


def test_pieces_of_a_prompt_do_not_show(model):
    whole, pieces = (Writers(PROMPT * 4, [(5, 6), (11,)], count=20) for _ in range(2))
    drive(make_engine(model, max_forward_tokens=1024), whole)
    (session,) = drive(make_engine(model, max_forward_tokens=13), pieces)
    assert pieces.said == whole.said
    assert session.forwards > 20


def test_decoding_goes_on_while_another_session_reads_its_prompt(model):
    engine = make_engine(model, max_forward_tokens=8)
    fast = engine.open(Writers(PROMPT[:4], count=100))
    engine.forward()
    slow = engine.open(Writers(PROMPT * 2, count=5))
    for _ in range(10):
        before = len(fast.protocol.said["w0"])
        engine.forward()
        assert len(fast.protocol.said["w0"]) == before + 1
    assert slow.forwards == 10 and not slow.protocol.said["w0"]


def test_seeds(model):
    def said(seed):
        protocol = Writers(PROMPT, [(5,), (5,)], count=20, sampling=STOCHASTIC.replace(seed=seed))
        drive(make_engine(model), protocol)
        return protocol.said

    assert said(1) == said(1)
    assert said(1) != said(2)


@pytest.mark.parametrize("layout", ["combined", "contiguous", "interleaved"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_collaboration_keeps_the_same_blocks_as_lists_do(model, layout, workers):
    """The same tokens sent through plain lists: every block holds the same ids after every forward."""

    def make():
        sampling = SamplingParams(temperature=0.7, seed=workers, forbidden_tokens=(0,))
        options = {"max_forwards": 40, "sampling": sampling, "rule": ShortSteps()}
        return CollaborationProtocol("Go.", TOKENIZER, workers, layout, prompt=PROMPT, **options)

    engine = make_engine(model, max_forward_tokens=1024)
    session = engine.open(make())
    sampled = {}
    states = []
    while not session.finished:
        for _, events in engine.forward():
            for event in events:
                if isinstance(event, TokenEvent) and event.source == "sampled":
                    sampled.setdefault(event.worker, []).append(event.token)
        states.append(contents(session))
    script = ScriptedEngine(make(), sampled)
    for state in states:
        script.forward()
        assert script.store.blocks == state
    assert len(states) == 40
    if layout != "contiguous":
        assert any(len(state["history"]) > len(PROMPT) for state in states)


def test_stream_tells_the_whole_run_and_frees_its_pages(model):
    engine = make_engine(model)
    protocol = Writers(PROMPT, [(5,), (6,)], count=4)
    events = list(engine.stream(protocol))
    start, *tokens, finish = events
    assert isinstance(start, StartEvent) and start.version and start.forward == 0
    assert [event.forward for event in tokens] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert isinstance(finish, FinishEvent)
    assert (finish.reason, finish.forwards, finish.tokens) == ("max_forwards", 4, 8)
    times = [event.time for event in events]
    assert times == sorted(times) and times[0] >= 0 and finish.seconds == pytest.approx(finish.time, abs=0.1)
    assert engine.pool.used_pages == 0


def test_closing_a_stream_frees_its_pages(model):
    engine = make_engine(model)
    stream = engine.stream(Writers(PROMPT, count=50))
    for _ in range(5):
        next(stream)
    assert engine.pool.used_pages > 0
    stream.close()
    assert engine.pool.used_pages == 0
    assert engine.forward() == []


def test_two_streams_taken_in_turns(model):
    alone = Writers(PROMPT, count=10)
    drive(make_engine(model), alone)
    engine = make_engine(model)
    protocols = [Writers(PROMPT, count=10) for _ in range(2)]
    for pair in zip(*(engine.stream(protocol) for protocol in protocols), strict=True):
        assert type(pair[0]) is type(pair[1])
    assert [protocol.said for protocol in protocols] == [alone.said] * 2


def test_run_several_side_by_side(model):
    engine = make_engine(model)
    protocols = [Writers(PROMPT, count=count) for count in (3, 9, 6)]
    forwards = {id(protocol): [] for protocol in protocols}
    for protocol, event in engine.run(protocols):
        forwards[id(protocol)].append(event)
    assert [len(protocol.said["w0"]) for protocol in protocols] == [3, 9, 6]
    for protocol in protocols:
        assert isinstance(forwards[id(protocol)][0], StartEvent)
        assert isinstance(forwards[id(protocol)][-1], FinishEvent)
    assert engine.pool.used_pages == 0


def test_a_trace_replays_a_run(model, tmp_path):
    engine = Engine(model, TOKENIZER)
    events = []
    with TraceWriter(tmp_path / "run.jsonl") as trace:
        for event in engine.stream(engine.collaboration("Add 1 and 2.", max_forwards=12)):
            trace.write(event)
            events.append(event)
    assert list(read_trace(tmp_path / "run.jsonl")) == events
    replayed = CollaborationResult.from_events(read_trace(tmp_path / "run.jsonl"))
    assert replayed == CollaborationResult.from_events(events)


def test_collaborate(model):
    engine = Engine(model, TOKENIZER, max_forward_tokens=4096)
    result = engine.collaborate("Add 1 and 2.", ["Ada", "Kurt"], "interleaved", max_forwards=10, seed=5)
    assert result.problem == "Add 1 and 2." and set(result.texts) == {"Ada", "Kurt"}
    assert result.texts["Ada"].startswith("\n\n**Ada [1]:**")
    assert result.finish_reason == "max_forwards" and result.forwards == 10 and result.tokens == 20
    again = engine.collaborate("Add 1 and 2.", ["Ada", "Kurt"], "interleaved", max_forwards=10, seed=5)
    assert again.texts == result.texts
    assert engine.pool.used_pages == 0


def test_collaboration_takes_the_models_own_settings():
    model = make_model()
    model.generation_config.update(do_sample=True, temperature=0.6, top_k=20, eos_token_id=[0, 9])
    engine = Engine(model, TOKENIZER)
    protocol = engine.collaboration("Go.", seed=7, top_p=0.5)
    assert protocol.sampling("Alice") == SamplingParams(temperature=0.6, top_k=20, top_p=0.5, seed=7)
    assert {0, 9} <= protocol._end_tokens
    assert engine.collaboration("Go.", temperature=0).sampling("Bob").greedy


def test_steps_move_on_the_real_cache(model):
    """A step that ends moves its keys; what follows must equal a plain forward over the moved text."""
    engine = make_engine(model)
    options = {"max_forwards": 60, "find_answer": None, "rule": ShortSteps()}
    protocol = CollaborationProtocol("Go.", TOKENIZER, 1, "interleaved", prompt=PROMPT, **options)
    session = engine.open(protocol)
    ids, steps = list(PROMPT), 0
    while not session.finished:
        (feed,) = [feed for feed in protocol.feeds() if feed.sample]
        ids += feed.tokens
        for _, events in engine.forward():
            tokens = [e for e in events if isinstance(e, TokenEvent) and e.source == "sampled"]
            steps += sum(isinstance(e, StepEvent) for e in events)
        assert tokens[0].token == plain_greedy(model, ids, 1)[0]
    assert steps == 8


# ------------------------------------------------------------------ wrong arguments


def test_wrong_arguments(model):
    with pytest.raises(ValueError, match="page_size and max_tokens are settings of a new pool"):
        make_engine(model, pool=Pool(), page_size=32)
    for name, value, error in [
        ("max_forward_tokens", 0, ValueError),
        ("max_forward_tokens", 1.5, TypeError),
        ("max_length", 0, ValueError),
        ("max_length", "many", TypeError),
        ("page_size", 0, ValueError),
    ]:
        with pytest.raises(error, match=f"{name}: expected .*, got {value!r}"):
            make_engine(model, **{name: value})
    with pytest.raises((TypeError, UnsupportedModelError)):
        make_engine(torch.nn.Linear(2, 2))
    engine = Engine(model, TOKENIZER)
    with pytest.raises(TypeError, match="problem: expected text, got None"):
        engine.collaboration(None)
    with pytest.raises(TypeError, match="seed: expected an integer, got None"):
        engine.collaboration("Go.", seed=None)
    with pytest.raises(TypeError, match="tokenizer: expected a Hugging Face tokenizer or None, got 3"):
        Engine(model, 3)
    for method in ("collaborate", "think"):
        with pytest.raises(TypeError, match="tokenizer: the engine was made without one"):
            getattr(Engine(model, None), method)("Go.")
    with pytest.raises(TypeError, match="sessions: expected a list of Session objects, got 3"):
        engine.forward(3)
    for name in (None, 3, b"demo"):
        with pytest.raises(TypeError, match=f"name_or_path: expected a name or a path, got {name!r}"):
            Engine.from_pretrained(name)


@pytest.mark.parametrize("ours", [False, True])
def test_forbidden_tokens_that_the_model_does_not_have(model, ours):
    """A device would end with an assertion that no process survives."""
    size = len(TOKENIZER.vocab)
    message = f"forbidden_tokens: expected token ids below the vocabulary's size of {size}, got {size}"
    engine = Engine(model, TOKENIZER)
    if ours:
        with pytest.raises(ValueError, match=message):
            engine.collaboration("Go.", forbidden_tokens=[0, size])
        assert engine.collaboration("Go.", forbidden_tokens=[0, size - 1])
        return
    session = engine.open(Writers(PROMPT, sampling=SamplingParams(forbidden_tokens=(size,))))
    while not session.finished:
        engine.forward()
    assert isinstance(session.error, ValueError) and message in str(session.error)


def test_the_longest_view_of_an_enabled_model_is_kept():
    model = enable(make_model(), max_length=100)
    assert binding_of(make_engine(model).model).max_length == 100
    assert make_engine(model, max_length=200).model is model
    assert binding_of(model).max_length == 200
    long = Writers(PROMPT * 5, count=3)
    (session,) = drive(make_engine(model), long)
    assert isinstance(session.error, ContextLengthError) and session.error.limit == 200
    with pytest.raises(ValueError, match="max_length"):
        make_engine(model, max_length=10**6)
    assert binding_of(model).max_length == 200


def test_a_protocol_that_waits_for_ever(model):
    class Waiting(Writers):
        def feeds(self):
            return []

    engine = make_engine(model)
    events = []
    with pytest.raises(
        HogwildError, match="session 1: the protocol has not finished and has nothing to feed"
    ):
        for event in engine.stream(Waiting(PROMPT)):
            events.append(event)
    assert events[-1].type == "finish" and events[-1].reason == "error"
    session = engine.open(Waiting(PROMPT))
    assert [type(e) for _, events in engine.forward() for e in events] == [StartEvent]
    assert engine.forward() == []
    session.close()
