"""Snapshots at budgets, and the answers that are asked for there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import PROMPT, TOKENIZER, of_the_run, run

from fakes import ToyTokenizer
from hogwild.engine.events import AnswerEvent, BudgetEvent, TokenEvent
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import UnknownNameError
from hogwild.prompting import Headers
from hogwild.protocols import BudgetAnswer, CollaborationProtocol, SequentialProtocol, make

LINE = "We are out of time, so from all this the answer is \\boxed{"
EARLY = {"early_finish": True}


def collaboration(workers=2, layout="combined", tokenizer=TOKENIZER, **options):
    options = {"prompt": tokenizer.encode("Solve it.\n\n### Past steps"), "headers": Headers(), **options}
    return CollaborationProtocol("Solve it.", tokenizer, workers, layout, **options)


def sequential(**options):
    return SequentialProtocol("Solve it.", TOKENIZER, prompt=PROMPT, **options)


# ------------------------------------------------------------------ answers


def test_one_run_answers_at_every_budget():
    protocol = sequential(budgets=[2, 4, 30, 40], **EARLY)
    engine, _ = run(
        protocol, {"Alice": "It is \\boxed{5}.", "answer at 2": "1}", "answer at 4": "2 or 3}, so"}
    )
    given = len("It is \\boxed{5}")
    assert protocol.answers == [
        BudgetAnswer(2, "1", False, 2, "1}"),
        BudgetAnswer(4, "2 or 3", False, 4, "2 or 3}"),
        BudgetAnswer(30, "5", True, given),
        BudgetAnswer(40, "5", True, given),
    ]
    assert protocol.finish_reason == "answer" and protocol.forwards == given
    assert engine.events[-4:] == [
        BudgetEvent(budget=a.budget, answer=a.answer, given=a.given, forwards=a.forwards, text=a.text)
        for a in protocol.answers
    ]
    assert [event.text for event in engine.events if isinstance(event, AnswerEvent)] == ["5"]


def test_the_early_stop_line_follows_the_text_as_it_was_at_the_budget():
    protocol = sequential(budgets=[3, 6], **EARLY)
    _, script = run(protocol, {"Alice": "Let me see", "answer": "4}"})
    assert script.views["answer at 3"][0] == f"Solve it.\n\nLet\n\n{LINE}"
    assert script.views["answer at 6"] == [
        f"Solve it.\n\nLet me\n\n{LINE}",
        f"Solve it.\n\nLet me\n\n{LINE}4",
    ]


def test_without_early_finishing_only_given_answers_count():
    protocol = sequential(budgets=[5, 20])
    engine, script = run(protocol, {"Alice": " \\boxed{5}"})
    assert [answer.answer for answer in protocol.answers] == [None, "5"]
    assert [answer.forwards for answer in protocol.answers] == [5, 10]
    assert list(script.views) == ["Alice"] and len(engine.feeds) == 10


def test_a_run_that_ends_without_an_answer_is_asked_once_for_all_budgets_left():
    protocol = sequential(budgets=[2, 8, 16], **EARLY)
    _, script = run(protocol, {"Alice": "No.<eos>", "answer at 2": "1}", "answer at 4": "2}"})
    assert protocol.finish_reason == "eos"
    assert [(a.budget, a.answer, a.forwards) for a in protocol.answers] == [
        (2, "1", 2),
        (8, "2", 4),
        (16, "2", 4),
    ]
    assert script.views["answer at 4"][0] == f"Solve it.\n\nNo.\n\n{LINE}"


@pytest.mark.parametrize(
    "said, answer", [("12345678", "12345"), ("1\n2", "1"), ("<eos>", None), ("7<eos>", "7"), ("}", None)]
)
def test_answers_that_are_cut_off(said, answer):
    protocol = sequential(max_forwards=1, answer_tokens=5, **EARLY)
    engine, _ = run(protocol, {"answer": said})
    assert protocol.answers[0].answer == answer
    assert protocol.finish_reason == "max_forwards"
    assert len(engine.feeds) <= 1 + 5


def test_programs_are_asked_for_in_a_block():
    protocol = sequential(max_forwards=3, answer="code", answer_tokens=100, **EARLY)
    _, script = run(protocol, {"answer": "x = 1\nprint(x)\n```\n"})
    assert protocol.answers[0].answer == "x = 1\nprint(x)"
    assert script.views["answer at 3"][0].endswith("Final program:\n\n```python\n")


def test_asked_answers_are_greedy_and_keep_to_the_forbidden_tokens():
    sampling = SamplingParams(temperature=1.0, forbidden_tokens=(7,), seed=3)
    protocol = sequential(max_forwards=2, sampling=sampling, **EARLY)
    run(protocol, {"answer": "1}"})
    assert protocol.workers == ("Alice", "answer at 2")
    assert protocol.sampling("answer at 2") == SamplingParams(forbidden_tokens=(7,))
    assert protocol.sampling("Alice") == sampling


# ------------------------------------------------------------------ the collaboration's point of view


@pytest.mark.parametrize("layout", ["combined", "contiguous", "interleaved"])
def test_the_last_worker_answers_over_all_workers_text(layout):
    protocol = collaboration(3, layout, budgets=[9], **EARLY)
    _, script = run(
        protocol, {"Alice": " One.\n\n Al", "Bob": " Bobby is", "Carol": " Caroline", "answer": "4}"}
    )
    before = "Solve it.\n\n### Past steps"
    past, now = "\n\n**Alice [1]:** One.", "\n\n**Alice [2]:** Al"
    others = "\n\n**Bob [1]:** Bobby is"
    own = f"\n\n**Carol [1]:** Caroline\n\n{LINE}"
    views = {
        "combined": f"{before}{past}\n\n### Work in progress (others){now}{others} <...>\n\n"
        f"### Work in progress (own){own}",
        "contiguous": f"{before}{past}\n\n Al{others}{own}",
        "interleaved": f"{before}{past}{own}",
    }
    assert script.views["answer at 9"][0] == views[layout]


def test_behind_a_fresh_header_the_line_is_the_step():
    protocol = collaboration(2, budgets=[6], **EARLY)
    _, script = run(protocol, {"Alice": " Alice", "Bob": " Bob.\n\n", "answer": "4}"})
    assert script.views["answer at 6"][0].endswith(f"### Work in progress (own)\n\n**Bob [2]:** {LINE}")


def test_a_last_worker_that_has_stopped_answers_all_the_same():
    protocol = collaboration(2, budgets=[8], **EARLY)
    _, script = run(protocol, {"Alice": " Alice is", "Bob": " Bob.<eos>", "answer": "4}"})
    text = script.views["answer at 8"][0]
    assert "\n\n**Bob [1]:** Bob.\n\n### Work in progress (others)\n\n**Alice [1]:** Alice i" in text
    assert text.endswith(f"### Work in progress (own)\n\n{LINE}")


def test_steps_on_their_way_to_the_history_are_in_view():
    for reencode in (False, True):
        tokenizer = ToyTokenizer([".\n\n", "\n\n"])
        protocol = collaboration(2, tokenizer=tokenizer, budgets=[4], reencode=reencode, **EARLY)
        _, script = run(protocol, {"Alice": " Al.\n\n", "Bob": " Bob", "answer": "4}"}, tokenizer)
        assert script.views["answer at 4"][0] == (
            "Solve it.\n\n### Past steps\n\n**Alice [1]:** Al.\n\n### Work in progress (others)"
            f"\n\n**Alice [2]:** <...>\n\n### Work in progress (own)\n\n**Bob [1]:** Bob\n\n{LINE}"
        )


# ------------------------------------------------------------------ nothing is disturbed

METHODS = ["sequential", "self-consistency:3", "self-consistency:2:vote", "skeleton", "skeleton:2"]
METHODS += [
    f"hogwild:{n}:{layout}" for n in (1, 2, 4) for layout in ("combined", "contiguous", "interleaved")
]
METHODS += ["hogwild:2:re-encode", "hogwild:3:random-question"]
PARTS = st.sampled_from([" a", ".", "\n\n", ".\n\n", "\n", "2. x\n", "<eos>", "}", " \\boxed{3}"])


@settings(max_examples=60)
@given(
    st.sampled_from(METHODS),
    st.lists(PARTS, max_size=30).map("".join),
    st.lists(PARTS, max_size=30).map("".join),
    st.sets(st.integers(1, 59), max_size=6),
)
def test_snapshots_do_not_disturb_the_run(method, first, second, budgets):
    tokenizer = ToyTokenizer(["\n\n", ".\n\n"])
    texts = dict.fromkeys(("Alice", "Carol", "Outline", "Point 1", "Writer"), first)
    texts |= dict.fromkeys(("Bob", "Dave", "Point"), second) | {"answer": "7} "}
    options = {"max_forwards": 60, "question_every": 9} if "hogwild" in method else {"max_forwards": 60}

    plain = make(method, "Solve it.", tokenizer, early_finish=False, **options)
    without, _ = run(plain, texts, tokenizer)
    protocol = make(method, "Solve it.", tokenizer, budgets=sorted(budgets), **options)
    engine, _ = run(protocol, texts, tokenizer)

    assert of_the_run(engine.events) == of_the_run(without.events)
    forwards = protocol.forwards
    assert engine.feeds[:forwards] == without.feeds == without.feeds[:forwards]
    assert protocol.finish_reason == plain.finish_reason
    # every budget has its answer, in order; the branches leave no block behind
    assert [a.budget for a in protocol.answers] == (sorted(budgets) or [60])
    assert all(a.answer is not None and a.forwards == min(a.budget, forwards) for a in protocol.answers)
    assert not [name for name in engine.store.names() if " at " in name]
    assert {name: engine.store.tokens(name) for name in engine.store.names()} == {
        name: without.store.tokens(name) for name in without.store.names()
    }
    # and what is asked for is not counted
    sampled = [e for e in engine.events if isinstance(e, TokenEvent) and e.worker.startswith("answer")]
    assert not sampled


@settings(max_examples=60)
@given(st.sampled_from(METHODS), st.integers(1, 30), st.lists(PARTS, max_size=20).map("".join))
def test_a_snapshot_sees_what_a_run_that_stops_there_sees(method, budget, text):
    texts = {"": text, "answer": "7}"}
    views = []
    for budgets in ([budget], [budget, 40]):
        protocol = make(method, "Solve it.", TOKENIZER, budgets=budgets)
        _, script = run(protocol, texts)
        asked = f"answer at {budget}"
        views.append({name: seen for name, seen in script.views.items() if name.split(" of ")[0] == asked})
    assert views[0] == views[1]


# ------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"budgets": [4, 2]}, ValueError, r"budgets: expected ascending numbers, got \[4, 2\]"),
        ({"budgets": [2, 2]}, ValueError, "budgets: expected ascending numbers"),
        ({"budgets": [0, 2]}, ValueError, "budgets: expected an integer >= 1, got 0"),
        ({"budgets": [1.5]}, TypeError, "budgets: expected an integer >= 1, got 1.5"),
        ({"budgets": 4}, TypeError, "budgets: expected a list of numbers, got 4"),
        ({"budgets": "12"}, TypeError, "budgets: expected a list of numbers"),
        ({"budgets": [4], "max_forwards": 3}, ValueError, "budgets: expected none above max_forwards=3"),
        ({"answer_tokens": 0}, ValueError, "answer_tokens: expected an integer >= 1, got 0"),
        ({"answer": "essay"}, UnknownNameError, "unknown answer format 'essay'"),
        ({"family": "qwen4"}, UnknownNameError, "unknown family 'qwen4'"),
        ({"prompt": []}, ValueError, "prompt: expected at least one token id"),
        ({"prompt": "abc"}, TypeError, "prompt: expected token ids, got 'abc'"),
        ({"sampling": 3}, TypeError, "sampling: expected SamplingParams or None, got 3"),
        ({"early_finish": "no"}, TypeError, "early_finish: expected True or False, got 'no'"),
        ({"end_tokens": "ab"}, TypeError, "end_tokens: expected token ids, got 'ab'"),
        ({"end_tokens": 3}, TypeError, "end_tokens: expected token ids, got 3"),
        ({"end_tokens": [-5]}, ValueError, "end_tokens: expected an integer >= 0, got -5"),
        (
            {"find_answer": "code"},
            TypeError,
            "find_answer: expected a function, \"format\" or None, got 'code'",
        ),
        ({"family": 3}, TypeError, "family: expected a name or the path of a YAML file, got 3"),
    ],
)
def test_wrong_settings_are_named(options, error, message):
    options = {"prompt": PROMPT, **options}
    with pytest.raises(error, match=message):
        SequentialProtocol("Solve it.", TOKENIZER, **options)


def test_the_last_budget_is_where_the_run_ends():
    assert sequential(budgets=[3, 9]).max_forwards == 9
    assert sequential(max_forwards=7).budgets == (7,)
    assert (sequential().max_forwards, sequential().budgets) == (256, (256,))


# ------------------------------------------------------------------ answers that are not complete yet


@pytest.mark.parametrize("make_protocol", [sequential, lambda **options: collaboration(1, **options)])
@pytest.mark.parametrize(
    "said, answer, reason",
    [
        ("\\boxed{12", "7", "max_forwards"),
        ("\\boxed{\\boxed{1}, 2", "7", "max_forwards"),
        ("\\boxed{\\boxed{1}, \\boxed{2}} or 3", "1, 2", "answer"),
    ],
)
def test_a_box_gives_an_answer_when_it_is_complete(make_protocol, said, answer, reason):
    protocol = make_protocol(budgets=[len(said)], **EARLY)
    run(protocol, {"Alice": said, "answer": "7}"})
    assert (protocol.answers[0].answer, protocol.finish_reason) == (answer, reason)


@pytest.mark.parametrize("make_protocol", [sequential, lambda **options: collaboration(1, **options)])
@pytest.mark.parametrize(
    "behind, answer",
    [
        ("```<eos>", "x"),  # the end of the text ends the fence's line
        ("```\nThat is it.", "x"),
        ("```text\ny\n```\n", "x\n```text\ny"),
    ],
)
def test_a_program_ends_with_a_whole_line(make_protocol, behind, answer):
    said = f"Final program:\n```python\nx\n{behind}"
    protocol = make_protocol(budgets=[len(said)], answer="code", **EARLY)
    run(protocol, {"Alice": said, "answer": "never"})
    assert (protocol.answers[0].answer, protocol.answers[0].given) == (answer, True)
    assert protocol.finish_reason == "answer"
