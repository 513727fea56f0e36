"""Sequential generation and self-consistency."""

from __future__ import annotations

import pytest
from scripted import PROMPT, TOKENIZER, run

from fakes import ToyTokenizer
from hogwild.engine.events import AnswerEvent, StartEvent, TokenEvent
from hogwild.protocols import CollaborationResult, SelfConsistencyProtocol, SequentialProtocol

LINE = "We are out of time, so from all this the answer is \\boxed{"


def self_consistency(threads=2, **options):
    options = {"prompt": PROMPT, "early_finish": True, **options}
    return SelfConsistencyProtocol("Solve it.", TOKENIZER, threads, **options)


def test_sequential_is_plain_generation():
    protocol = SequentialProtocol("Solve it.", TOKENIZER, prompt=PROMPT, max_forwards=30)
    engine, script = run(protocol, {"Alice": "Two.\n\nThree: \\boxed{3}"})
    text = "Two.\n\nThree: \\boxed{3}"
    assert script.views["Alice"] == [
        "Solve it.\n\n" + TOKENIZER.decode(TOKENIZER.encode(text)[:i]) for i in range(21)
    ]
    assert [(f.tokens, f.sample) for f in engine.feeds[0]] == [
        (tuple(PROMPT[:-1]), False),
        (tuple(PROMPT[-1:]), True),
    ]
    assert all(len(feeds) == 1 for feeds in engine.feeds[1:])
    assert protocol.finish_reason == "answer"
    assert engine.events[-2] == AnswerEvent(worker="Alice", text="3")
    result = CollaborationResult.from_events(engine.events)
    assert (result.answer, result.texts) == ("3", {"Alice": text})


def test_a_prompt_of_one_token():
    protocol = SequentialProtocol("Solve it.", TOKENIZER, prompt=PROMPT[:1], max_forwards=2)
    engine, script = run(protocol, {"Alice": "ab"})
    assert script.views["Alice"] == ["S", "Sa"] and len(engine.feeds[0]) == 1


def test_answers_can_be_ignored():
    protocol = SequentialProtocol("Solve it.", TOKENIZER, prompt=PROMPT, max_forwards=20, find_answer=None)
    run(protocol, {"Alice": "\\boxed{3}"})
    assert protocol.finish_reason == "max_forwards" and protocol.answers[0].answer is None


def test_threads_know_nothing_of_each_other():
    protocol = self_consistency(3, budgets=[4])
    engine, script = run(protocol, {"Alice": "abcd", "Bob": "efgh", "Carol": "ijkl", "answer": "7}"})
    for worker, text in {"Alice": "abcd", "Bob": "efgh", "Carol": "ijkl"}.items():
        assert script.views[worker] == ["Solve it.\n\n" + text[:i] for i in range(4)]
    assert engine.store.tokens("prompt") == PROMPT[:-1]  # once, for all of them
    start = engine.events[0]
    assert isinstance(start, StartEvent) and start.layout == "independent"


def test_one_look_at_all_of_them():
    protocol = self_consistency(2, budgets=[2, 4])
    _, script = run(protocol, {"Alice": "abcd", "Bob": "efgh", "answer at 2": "1}", "answer at 4": "2}"})
    # each thread's block begins with the last token of the prompt
    assert script.views["answer at 2"][0] == f"Solve it.\n\nab\n\nef\n\n{LINE}"
    assert script.views["answer at 4"][0] == f"Solve it.\n\nabcd\n\nefgh\n\n{LINE}"
    assert [(a.answer, a.given) for a in protocol.answers] == [("1", False), ("2", False)]


def test_a_thread_that_has_answered_waits_for_the_others_and_is_looked_at():
    protocol = self_consistency(2, budgets=[4, 12, 40])
    texts = {"Alice": "\\boxed{3}", "Bob": "Bob says \\boxed{4}", "answer": "5}"}
    engine, script = run(protocol, texts)
    assert script.views["answer at 12"][0] == f"Solve it.\n\n\\boxed{{3}}\n\nBob says \\bo\n\n{LINE}"
    assert script.views["answer at 18"][0] == f"Solve it.\n\n\\boxed{{3}}\n\nBob says \\boxed{{4}}\n\n{LINE}"
    assert protocol.finish_reason == "answer" and protocol.forwards == 18
    assert [(a.answer, a.forwards) for a in protocol.answers] == [("5", 4), ("5", 12), ("5", 18)]
    assert not any(isinstance(event, AnswerEvent) for event in engine.events)  # the look decides
    said = [e for e in engine.events if isinstance(e, TokenEvent) and e.worker == "Alice"]
    assert len(said) == len("\\boxed{3}")


def test_the_run_ends_when_all_texts_have_ended():
    protocol = self_consistency(2, budgets=[50])
    _, script = run(protocol, {"Alice": "a<eos>", "Bob": "bcd<eos>", "answer": "5}"})
    assert protocol.finish_reason == "eos" and protocol.forwards == 4
    assert script.views["answer at 4"][0] == f"Solve it.\n\na\n\nbcd\n\n{LINE}"


@pytest.mark.parametrize(
    "given, asked, winner",
    [
        (["3", "4", "4"], [], "4"),
        (["3", " 4", "$4.$"], [], " 4".strip()),  # the same but for how it is written
        (["3", "4", "5"], [], "3"),  # the first of equally frequent ones
        (["3"], ["4", "4"], "4"),
        (["3"], ["4", "5"], "3"),  # given answers count first
        ([], ["", "4", ""], "4"),
        ([], ["", "", ""], None),
    ],
)
def test_majority_vote(given, asked, winner):
    protocol = self_consistency(3, vote=True, budgets=[30])
    names = ["Alice", "Bob", "Carol"]
    texts = {name: f"\\boxed{{{answer}}}" for name, answer in zip(names, given, strict=False)}
    texts |= {
        f"answer at 30 of {name}": answer + ("}" if answer else "<eos>")
        for name, answer in zip(names[len(given) :], asked, strict=True)
    }
    run(protocol, texts)
    assert protocol.answers[0].answer == winner


SAME_VOTES = [
    ("1{,}000", "1000"),
    (r"\dfrac{1}{2}", r"\frac{1}{2}"),
    (r"\left(1\right)", "(1)"),
    ("1,000", "1000"),
    (r"\$18", "18"),
    ("18 dollars", "18"),
    (r"\text{B}", "B"),
    (r"\frac12", r"\frac{1}{2}"),
    (r"\frac12x", r"\frac{1}{2}x"),
    ("5", "5.0"),
    ("x = 5", "5"),
    (r"50\%", "50%"),
    ("**B**", "B"),
]


@pytest.mark.parametrize("one, same", SAME_VOTES)
def test_votes_for_one_answer_in_several_spellings_count_together(one, same):
    protocol = self_consistency(4, vote=True, budgets=[30])
    names = ["Alice", "Bob", "Carol", "Dave"]
    answers = ["7", one, same, "8"]
    run(protocol, {n: f"\\boxed{{{a}}}" for n, a in zip(names, answers, strict=True)})
    assert protocol.answers[0].answer == one


@pytest.mark.parametrize(
    "one, other",
    [
        ("18", "18x"),
        ("5", "-5"),
        ("50", "50%"),
        ("12", "1, 2"),
        ("5", r"x \ge 5"),
        ("5", "x>=5"),
        ("(1,2)", "(2,1)"),
        ("2", "x=1, y=2"),
    ],
)
def test_votes_for_different_answers_do_not(one, other):
    protocol = self_consistency(3, vote=True, budgets=[30])
    answers = ["7", one, other]
    run(protocol, {n: f"\\boxed{{{a}}}" for n, a in zip(["Alice", "Bob", "Carol"], answers, strict=True)})
    assert protocol.answers[0].answer == "7"  # all have one vote


def test_every_thread_without_an_answer_votes_from_its_own_view():
    protocol = self_consistency(2, vote=True, budgets=[12])
    _, script = run(protocol, {"Alice": "\\boxed{3}", "Bob": "Bob thinks and thinks", "answer": "3}"})
    assert [name for name in script.views if name.startswith("answer")] == ["answer at 12 of Bob"]
    assert script.views["answer at 12 of Bob"][0] == f"Solve it.\n\nBob thinks a\n\n{LINE}"


@pytest.mark.parametrize("threads, error", [(0, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_wrong_threads(threads, error):
    with pytest.raises(error, match="threads: expected an integer >= 1"):
        SelfConsistencyProtocol("Solve it.", ToyTokenizer(), threads)


def test_a_vote_is_a_matter_of_yes_or_no():
    with pytest.raises(TypeError, match="vote: expected True or False, got 'no'"):
        SelfConsistencyProtocol("Solve it.", ToyTokenizer(), 2, vote="no")
