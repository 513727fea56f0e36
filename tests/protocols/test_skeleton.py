"""Skeleton-of-thought: the outline, its points in parallel or in turns, the answer over all of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import run

from fakes import ChatTokenizer, ToyTokenizer
from hogwild.engine.events import AnswerEvent, ModeEvent
from hogwild.prompting import load_family, solo_prompt
from hogwild.prompting.skeleton import MAX_POINTS, read_points
from hogwild.protocols import SkeletonProtocol

CHAT, BASE = ChatTokenizer(), ToyTokenizer()
FAMILY = load_family("chat")
LINE = FAMILY.early + " the answer is \\boxed{"
OUTLINE = " Sum of 1 and 2\n2. Name of a bird.\n3. End<eos>"
POINTS = {"Point 1": " 1 + 2 = 3<eos>", "Point 2": " An owl \\boxed{owl}", "Point 3": "<eos>"}


def skeleton(tokenizer=CHAT, at_a_time=None, **options):
    options = {"max_forwards": 500, "early_finish": True, **options}
    return SkeletonProtocol("Add 1 and 2, name a bird.", tokenizer, at_a_time, **options)


def writing(engine):
    """Who samples in each forward."""
    return [[feed.worker for feed in feeds if feed.sample] for feeds in engine.feeds]


def test_a_whole_run():
    protocol = skeleton()
    texts = {"Outline": OUTLINE, **POINTS, "Writer": "So \\boxed{3, owl}"}
    engine, script = run(protocol, texts, CHAT)
    assert protocol.points == ["Sum of 1 and 2", "Name of a bird.", "End"]
    assert [event.mode for event in engine.events if isinstance(event, ModeEvent)] == [
        "outline",
        "points",
        "answer",
    ]
    outline = script.views["Outline"][0]
    assert "Question: Add 1 and 2, name a bird.</user><assistant>1." in outline
    second = script.views["Point 2"][0]
    assert "The parts:\n1. Sum of 1 and 2\n2. Name of a bird.\n3. End\n\nWrite part 2" in second
    assert second.endswith("<assistant>**Part 2: Name of a bird.**")
    assert "1 + 2 = 3" not in script.views["Point 2"][-1]  # parts do not see each other
    assert script.views["Writer"][0] == CHAT.decode(solo_prompt(protocol.problem, CHAT)) + (
        "**Part 1: Sum of 1 and 2.** 1 + 2 = 3\n\n"
        "**Part 2: Name of a bird.** An owl \\boxed{owl}\n\n"
        "**Part 3: End.**\n\n"
    )
    assert (protocol.finish_reason, protocol.answers[0].answer) == ("answer", "3, owl")
    assert engine.events[-2] == AnswerEvent(worker="Writer", text="3, owl")
    assert set(engine.store.names()) == {"prompt:answer", "thread:Writer"}  # nothing else is left


def test_what_the_points_prompts_share_is_written_once():
    protocol = skeleton()
    engine, _ = run(protocol, {"Outline": OUTLINE, **POINTS, "Writer": "\\boxed{3}"}, CHAT)
    first = next(feeds for feeds in engine.feeds if feeds[-1].worker == "Point 3")
    assert [feed.sample for feed in first] == [False, True, True, True]
    texts = [CHAT.decode(feed.tokens) for feed in first]
    assert texts[0].endswith("\n3. End\n\nWrite part ")
    assert [text[0] for text in texts[1:]] == ["1", "2", "3"]


def test_points_in_turns():
    protocol = skeleton(at_a_time=2)
    points = {"Point 1": " aaaa<eos>", "Point 2": " b<eos>", "Point 3": " ccc<eos>"}
    engine, _ = run(protocol, {"Outline": OUTLINE, **points, "Writer": "\\boxed{3}"}, CHAT)
    turns = [[int(name[-1]) for name in names] for names in writing(engine) if names[0].startswith("Point")]
    assert turns[:4] == [[1, 2], [3, 1], [2, 3], [1, 2]]
    assert all(len(turn) <= 2 for turn in turns)
    counts = [sum(turn.count(point) for turn in turns) for point in (1, 2, 3)]
    assert counts == [6, 3, 5]  # every token of every point, once
    everything, _ = run(skeleton(), {"Outline": OUTLINE, **points, "Writer": "\\boxed{3}"}, CHAT)
    assert [names for names in writing(everything) if len(names) == 3]


@given(st.integers(1, 5), st.lists(st.integers(0, 12), min_size=1, max_size=6))
def test_turns_are_fair_and_complete(at_a_time, lengths):
    outline = "".join(f"{'' if i == 1 else f'{i}.'} point\n" for i in range(1, len(lengths) + 1)) + "<eos>"
    points = {f"Point {i}": "x" * length + "<eos>" for i, length in enumerate(lengths, start=1)}
    engine, _ = run(
        skeleton(at_a_time=at_a_time), {"Outline": outline, **points, "Writer": "\\boxed{3}"}, CHAT
    )
    turns = [names for names in writing(engine) if names[0].startswith("Point")]
    written = dict.fromkeys(points, 0)
    for turn in turns:
        left = [name for name in points if written[name] <= len(points[name]) - len("<eos>")]
        assert len(turn) == min(at_a_time, len(left)) and set(turn) <= set(left)
        for name in turn:
            written[name] += 1
        going_on = [written[name] for name in left if written[name] <= len(points[name]) - len("<eos>")]
        assert max(going_on, default=0) - min(going_on, default=0) <= 1
    assert written == {name: length + 1 for name, length in zip(points, lengths, strict=True)}


def test_answers_asked_for_in_every_mode():
    outline = len(CHAT.encode(OUTLINE.replace("<eos>", ""))) + 1  # forwards of each mode
    points = len(" one two three") + 1
    budgets = [5, outline + 8, outline + points + 5]
    protocol = skeleton(budgets=budgets)
    texts = {"Outline": OUTLINE, "Point": " one two three<eos>", "Writer": "Hence"}
    _, script = run(protocol, {**texts, "answer": "3}"}, CHAT)
    first, second, third = (script.views[f"answer at {budget}"][0] for budget in budgets)
    solo = CHAT.decode(solo_prompt(protocol.problem, CHAT))
    titles = ["**Part 1: Sum of 1 and 2.**", "**Part 2: Name of a bird.**", "**Part 3: End.**"]
    assert first == f"{solo}1.{OUTLINE[:4]}\n\n{LINE}"
    assert second == solo + "\n\n".join(f"{title} one two" for title in titles) + f"\n\n{LINE}"
    parts = "\n\n".join(f"{title} one two three" for title in titles)
    assert third == f"{solo}{parts}\n\nHence\n\n{LINE}"
    assert [answer.answer for answer in protocol.answers] == ["3", "3", "3"]


def test_points_of_base_models_are_paragraphs():
    protocol = skeleton(BASE)
    texts = {
        "Outline": " Sum\n2. Bird\n\n# Problem",
        "Point 1": " We have 3.\n\nMore",
        "Point 2": " An owl.\n\n",
    }
    _, script = run(protocol, {**texts, "Writer": "\\boxed{3}"}, BASE)
    assert protocol.points == ["Sum", "Bird"]
    assert script.views["Outline"][0].endswith("Add 1 and 2, name a bird.\n\nThe parts of the answer:\n\n1.")
    assert script.views["Point 2"][0].endswith("1. Sum\n2. Bird\n\nPart 2: Bird.")
    assert script.views["Writer"][0].endswith("\n\nPart 1: Sum. We have 3.\n\nPart 2: Bird. An owl.\n\n")


def test_an_outline_ends_where_the_model_begins_something_else():
    protocol = skeleton()
    texts = {"Outline": " Sum\n   - of both\n\n2. Bird\nNow I answer.\nMore", "Point": "<eos>"}
    run(protocol, {**texts, "Writer": "\\boxed{3}"}, CHAT)
    assert protocol.points == ["Sum", "Bird"]


def test_without_points_the_model_just_answers():
    protocol = skeleton()
    _, script = run(protocol, {"Outline": "<eos>", "Writer": "\\boxed{3}"}, CHAT)
    assert protocol.points == [] and protocol.answers[0].answer == "3"
    assert script.views["Writer"][0] == CHAT.decode(solo_prompt(protocol.problem, CHAT))


def test_an_outline_without_end_is_cut():
    protocol = skeleton(max_forwards=400)
    engine, _ = run(protocol, {"Outline": " x" * 300, "answer": "3}"}, CHAT)
    assert writing(engine)[255:257] == [["Outline"], ["Point 1"]]


@pytest.mark.parametrize(
    "text, points",
    [
        ("1. a\n2. b", ["a", "b"]),
        ("1. a\n\n  2) b  \n4. d", ["a", "b"]),
        ("2. b", []),
        ("1.\n2. b", []),
        ("\n".join(f"{i}. p" for i in range(1, 30)), ["p"] * MAX_POINTS),
    ],
)
def test_reading_points(text, points):
    assert read_points(text) == points


def test_thoughts_of_reasoning_models_are_closed_before_the_list():
    tokenizer = ChatTokenizer(start="<assistant><think>\n")
    protocol = skeleton(tokenizer, family="qwq")
    _, script = run(protocol, {"Outline": "<eos>", "Writer": "\\boxed{3}"}, tokenizer)
    assert script.views["Outline"][0].endswith("<assistant><think>\n</think>\n\n1.")
    assert script.views["Writer"][0].endswith("<assistant><think>\n")


@pytest.mark.parametrize("at_a_time, error", [(0, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_wrong_turns(at_a_time, error):
    with pytest.raises(error, match="at_a_time: expected an integer >= 1"):
        skeleton(at_a_time=at_a_time)
