"""When a worker is asked whether its work is redundant."""

import random

import pytest

from fakes import ScriptedEngine, ToyTokenizer
from hogwild.engine.events import InterventionEvent, TokenEvent
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import UnknownNameError
from hogwild.prompting import Headers, load_family
from hogwild.protocols import CollaborationProtocol
from hogwild.protocols.questions import Questions

QUESTION = load_family("generic").question


def asked(questions, opened):
    """Who is asked, when workers open steps in this order after one token each."""
    result = []
    for worker in opened:
        questions.sampled()
        result += [worker] if questions.due(worker) else []
    return result


def test_the_next_worker_that_opens_a_step_is_asked():
    questions = Questions(["a", "b", "c"], every=3)
    assert asked(questions, "aabbcca") == ["b", "c"]
    assert questions.count == 2


def test_tokens_count_from_the_last_question():
    questions = Questions(["a", "b"], every=3)
    for _ in range(10):
        questions.sampled()
    assert questions.due("b") and not questions.due("a")
    assert asked(questions, "aa") == [] and asked(questions, "a") == ["a"]


def test_a_random_worker_is_drawn_once_and_waited_for():
    names = ["a", "b", "c", "d"]
    drawn = []
    for seed in range(40):
        questions = Questions(names, every=2, to="random", seed=seed)
        first = asked(questions, "abcd" * 3)
        again = Questions(names, every=2, to="random", seed=seed)
        assert asked(again, "abcd" * 3) == first  # the seed decides
        drawn.append(first[0])
        assert len(first) == questions.count >= 2
    assert set(drawn) == set(names)


def test_who_has_stopped_is_not_waited_for():
    questions = Questions(["a", "b"], every=1, to="random", seed=1)
    target = random.Random("1/questions").choice(["a", "b"])
    other = "b" if target == "a" else "a"
    questions.sampled()
    assert not questions.due(other)
    questions.stopped(target)
    assert questions.due(other)


def test_nobody_is_asked_alone_or_never():
    assert asked(Questions(["a"], every=1), "aaa") == []
    assert asked(Questions(["a", "b"], every=None), "abab") == []


@pytest.mark.parametrize(
    "every, to, error, message",
    [
        (0, "next", ValueError, "question_every: expected an integer >= 1, got 0"),
        (1.5, "next", TypeError, "question_every: expected an integer >= 1, got 1.5"),
        (5, "all", UnknownNameError, "unknown question_to 'all'; expected one of: next, random"),
    ],
)
def test_wrong_settings(every, to, error, message):
    with pytest.raises(error, match=message):
        CollaborationProtocol("Add.", ToyTokenizer(), question_every=every, question_to=to)


# ------------------------------------------------------------------ in a run


@pytest.mark.parametrize("layout", ["combined", "contiguous", "interleaved"])
def test_the_question_stands_at_the_beginning_of_a_step(layout):
    tokenizer = ToyTokenizer()
    options = {"max_forwards": 99, "question_every": 20, "headers": Headers(), "prompt": [5]}
    protocol = CollaborationProtocol("Add.", tokenizer, 2, layout, **options)
    scripts = {"Alice": " Some words.\n\n no, I go on.", "Bob": " Other words are these."}
    engine = ScriptedEngine(protocol, {name: tokenizer.encode(text) for name, text in scripts.items()})
    engine.run(22)
    (event,) = [event for event in engine.events if isinstance(event, InterventionEvent)]
    assert (event.worker, event.text, protocol.questions) == ("Alice", QUESTION, 1)
    text = "".join(e.text for e in engine.events if isinstance(e, TokenEvent) and e.worker == "Alice")
    header = "" if layout == "contiguous" else "**Alice [2]:** "
    assert text == f"\n\n**Alice [1]:** Some words.\n\n{header}{QUESTION} no, I go"
    inserted = [e.text for e in engine.events if isinstance(e, TokenEvent) and e.source == "inserted"]
    assert "".join(inserted).count(QUESTION) == 1
    # it is part of what the worker feeds, in the forward that opens the step
    (feed,) = [f for feeds in engine.feeds for f in feeds if QUESTION in tokenizer.decode(f.tokens)]
    assert tokenizer.decode(feed.tokens) == f"\n\n{header}{QUESTION}" and feed.sample


def test_a_question_is_no_end_of_a_step():
    """It ends with a question mark and a colon; only what the worker itself writes counts."""
    tokenizer = ToyTokenizer()
    options = {"max_forwards": 99, "question_every": 1, "headers": Headers(), "prompt": [5]}
    protocol = CollaborationProtocol("Add.", tokenizer, 2, **options)
    scripts = {"Alice": " So.\n\n\n\nand then", "Bob": " Other words are these."}
    engine = ScriptedEngine(protocol, {name: tokenizer.encode(text) for name, text in scripts.items()})
    engine.run(10)
    assert [event.worker for event in engine.events if isinstance(event, InterventionEvent)] == ["Alice"]


def test_the_seed_of_the_run_decides_who_is_asked():
    tokenizer = ToyTokenizer()
    who = []
    for seed in range(20):
        options = {"max_forwards": 40, "question_every": 8, "question_to": "random", "prompt": [5]}
        sampling = SamplingParams(temperature=1.0, seed=seed)
        protocol = CollaborationProtocol("Add.", tokenizer, 4, sampling=sampling, **options)
        scripts = dict.fromkeys(protocol.workers, tokenizer.encode(" So.\n\n" * 20))
        engine = ScriptedEngine(protocol, scripts)
        engine.run()
        who.append(tuple(e.worker for e in engine.events if isinstance(e, InterventionEvent)))
    assert len(set(who)) > 10
