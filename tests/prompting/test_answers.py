"""Finding answers, and how they are asked for."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hogwild.errors import UnknownNameError
from hogwild.prompting import ANSWER_FORMATS, answer_format, find_boxed

BOX, CODE = ANSWER_FORMATS["boxed"], ANSWER_FORMATS["code"]


@pytest.mark.parametrize(
    "text, answer",
    [
        ("", None),
        ("the answer is 5", None),
        ("\\boxed{5}", "5"),
        ("so it is $\\boxed{ 5 }$.", "5"),
        ("\\boxed {5}", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a\\}b}", "a\\}b"),
        ("\\boxed{1} and then \\boxed{2}", "2"),
        ("\\boxed{1} and then \\boxed{2", "1"),  # the last one is not complete
        ("\\boxed{{1}", None),
        ("\\boxed 5", None),
        ("\\boxed", None),
        ("\\boxed{", None),
        ("\\boxed{}", ""),
        ("\\boxed{1\\", None),
        ("\\boxed{12", None),
        ("\\boxed{\\boxed{1}, ", None),  # what the outer one will hold is not said yet
        ("\\boxed{\\boxed{1}, \\boxed{ \\frac{1}{2} }}", "1, \\frac{1}{2}"),
        ("\\boxed{ I write \\boxed 5, \\boxed{1}", None),
        ("\\boxed{ which I never closed.\n\nSo it is \\boxed{2}", "2"),
        ("\\boxed{1\n}", "1"),
    ],
)
def test_find_boxed(text, answer):
    assert find_boxed(text) == answer


braced = st.recursive(
    st.text(alphabet="ab 1+", max_size=4),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(
        lambda parts: "".join(f"{{{p}}}" for p in parts)
    ),
    max_leaves=6,
)


@given(braced, st.text(alphabet="xy .", max_size=5), st.text(alphabet="xy .{}", max_size=5))
def test_any_nesting_comes_back_whole(content, before, after):
    assert find_boxed(f"{before}\\boxed{{{content}}}{after}") == content.strip()


@given(
    st.lists(
        st.sampled_from(["\\boxed{", "\\boxed", "{", "}", "1", ", ", "\\", "\n", "answer", " "]), max_size=20
    )
)
def test_what_is_found_in_the_beginning_of_a_text_is_still_in_it_at_its_end(pieces):
    """A run ends with the first answer that is found: no later token may make another one of it."""
    text = "".join(pieces)
    found = [BOX.find(text[:end]) for end in range(len(text) + 1)]
    kept = [answer for answer, before in zip(found[1:], found, strict=False) if answer != before]
    assert None not in kept
    closed = [BOX.closed(text[:end]) for end in range(len(text) + 1)]
    assert len({answer for answer in closed if answer is not None}) <= 1


# ------------------------------------------------------------------ formats

PROGRAM = "for x in range(3):\n    print(x)"


def test_a_box_that_only_speaks_of_the_task_is_no_answer():
    for content in ("", "answer", "...", "answer1,..., answer5", "Answer 1, \\ldots, answer_{5}"):
        assert BOX.find(f"I have to write \\boxed{{{content}}}") is None
    assert BOX.find("The \\boxed{answer 42 is right}") == "answer 42 is right"
    assert BOX.find("So it is \\boxed{\\frac{1}{2}}") == "\\frac{1}{2}"


@pytest.mark.parametrize(
    "content",
    [
        r"\text{answer}",
        "[answer]",
        "<answer>",
        r"\text{...}",
        r"\quad",
        r"\,",
        "answer here",
        "your answer",
        r"\mathbf{\text{final answer}}",
        "a, b, c, d, e",
        "[a, b, c, d, e]",
        "a_1, a_2, a_3, a_4, a_5",
        "answer1, answer2, …",
        r"\text{answer}_1, \ldots, \text{answer}_5",
        r"\text{answer 1, answer 2, ...}",
        "ans1, ans2",
        "?",
        r"\text{???}",
    ],
)
def test_placeholders_do_not_end_a_run(content):
    assert BOX.find(f"I write it as \\boxed{{{content}}}") is None
    assert BOX.find(f"It is \\boxed{{7}}, written as \\boxed{{{content}}}") == "7"


@pytest.mark.parametrize(
    "content",
    [
        "a",
        "x",
        "a, b",
        "x_1",
        "a_1, a_2",
        "A, B, C, D, E",
        "b, c, d, e, f",
        r"\{\}",
        "()",
        r"\emptyset",
        "1, ..., n",
    ],
)
def test_what_may_be_meant_is_an_answer(content):
    assert BOX.find(f"It is \\boxed{{{content}}}") == content


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 40_000,
        "\\boxed{\n\n" * 40_000,
        "\\boxed{" * 40_000 + "}" * 40_000,
        "\\boxed{" * 40_000 + "\n\n",
        "so \\boxed{answer}, " * 40_000,
    ],
)
def test_many_boxes_take_no_more_time_than_their_number_says(text):
    """Of 40,000 boxes, what is quadratic takes minutes."""
    start = time.process_time()
    find_boxed(text)
    BOX.find(text)
    assert time.process_time() - start < 10


def test_who_asks_with_each_token_reads_the_last_paragraph_only():
    text = "so \\boxed{18}, \\boxed{19}\n\n" * 20_000
    start = time.process_time()
    for _ in range(1000):
        assert BOX.find(text) == "19"
    assert time.process_time() - start < 2


def test_a_box_within_boxes_that_are_broken_off_or_in_another():
    assert find_boxed("\\boxed{a \\boxed{b {\\boxed{c}} \\boxed{d\n\nmore") == "c"
    assert find_boxed("\\boxed{\\boxed{ a }{ b }\\boxed{{\\boxed{c}}}}") == "a{ b }{c}"
    assert find_boxed("line \\\\\\boxed{5}") == "5"
    assert BOX.closed("\\boxed{5}} of \\boxed{6}") == "5"


@pytest.mark.parametrize(
    "continuation, closed, cut",
    [
        ("7", None, "7"),
        ("7} and", "7", "7} and"),
        ("\\frac{1}{2}", None, "\\frac{1}{2}"),
        ("\\frac{1}{2}}.", "\\frac{1}{2}", "\\frac{1}{2}}."),
        ("\\{1, 2\\}", None, "\\{1, 2\\}"),
        (" 7 \n\nmore", None, "7"),
        ("  ", None, None),
        ("}", "", "}"),
    ],
)
def test_boxed_answers_behind_the_early_stop_line(continuation, closed, cut):
    assert BOX.closed(continuation) == closed
    assert BOX.cut(continuation) == cut


def test_a_program_counts_below_its_mark_only():
    block = f"```python\n{PROGRAM}\n```"
    assert CODE.find(f"I try:\n\n{block}\n") is None
    assert CODE.find(f"I try:\n\n{block}\n\nFinal program:\n\n```python\nx = 1\n```\n") == "x = 1"
    assert CODE.find(f"Final program:\n{block}\nNo, wait.\n\n**Final program:**\n{block}\n") == PROGRAM
    assert CODE.find(f"Final program:\n\n```python\n{PROGRAM}") is None  # not complete


@pytest.mark.parametrize(
    "mark", ["Final program:", "**Final program:**", "**Final program**:", "### Final program:"]
)
def test_the_mark_may_be_in_bold(mark):
    assert CODE.find(f"{mark}\n\n```python\n{PROGRAM}\n```\n") == PROGRAM


def test_a_fence_is_known_when_its_line_is_whole():
    quoted = 'HELP = """\n```text\nrun me\n'
    text = f"Final program:\n\n```python\n{quoted}"
    for end in range(text.index("```text"), text.index("run")):
        assert CODE.find(text[:end]) is None
    assert CODE.find(f"Final program:\n\n```python\n{PROGRAM}\n```") is None
    assert CODE.find(f"Final program:\n\n```python\n{PROGRAM}\n```\n") == PROGRAM


def test_programs_behind_the_early_stop_line():
    assert CODE.closed(f"{PROGRAM}\n```\nDone.") == PROGRAM
    assert CODE.closed(PROGRAM) is None and CODE.cut(PROGRAM + "\n") == PROGRAM
    assert CODE.closed("```") == "" and CODE.cut(" \n") is None


def test_formats_by_name():
    assert answer_format("code") is CODE and answer_format(BOX) is BOX
    with pytest.raises(UnknownNameError, match="unknown answer format 'essay'"):
        answer_format("essay")
