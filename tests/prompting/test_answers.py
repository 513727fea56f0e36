"""Finding answers, and how they are asked for."""

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
