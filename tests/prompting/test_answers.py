"""Finding boxed answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hogwild.prompting import find_boxed


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
