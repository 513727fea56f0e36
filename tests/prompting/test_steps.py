"""Where a reasoning step ends: every clause of the rule, however the text is cut into tokens."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hogwild.prompting import StepDetector, StepRule

ENDS = [
    "So x is 5.\n\n",
    "Is it 5?\n\n",
    "It is 5!\n\n",
    "Wait…\n\n",
    "答えは五です。\n\n",
    "It is 5.  \n\n",  # blanks at the end of a line, as Markdown has them
    "(It is 5.)\n\n",
    '"It is 5."\n\n',
    "**It is 5.**\n\n",
    "$x = 5.$\n\n",
    "It is \\boxed{5}.\n\n",
    "It is 5.\n\n\n",
    "Code:\n```python\nx = 5\n```\n\n",
    "~~~\nx\n~~~\n\n",
    "1. Code:\n    ```python\n    x = 5\n    ```\n\n",
    "So\n\\[\nx = 5.\n\\]\n\n",
    "So \\(x = 5.\\)\n\n",
    "So $$x = 5.$$\n\n",
    "First a list:\n\n- one.\n\n",  # the second separator ends it
    "Inline ```code``` here.\n\n",
    "```one line of code```\nThat is it.\n\n",
]
DOES_NOT_END = [
    "",
    "\n\n",  # nothing but a separator
    "So x is 5.",
    "So x is 5.\n",
    "So x is 5\n\n",
    "So we have:\n\n",
    "First,\n\n",
    "First;\n\n",
    "x = 5 -\n\n",
    "It is \\boxed{5}\n\n",
    "```python\nprint('done.')\n\n",  # inside a code block
    "```\na.\n```\ntext.\n```\nb.\n\n",  # inside the second code block
    "~~~\nx.\n\n",
    "1. Code:\n    ```python\n    print('done.')\n\n",  # of an item in a list
    "10. ```\na.\n\n",
    "So \\(x = 5\\)\n\n",
]


def pieces_of(text, cuts):
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(places)]


def ending_piece(pieces, rule=None):
    """Index of the piece that ends the step, or None."""
    detector = StepDetector(rule)
    for index, piece in enumerate(pieces):
        if detector.push(piece):
            return index
    return None


@pytest.mark.parametrize("text", ENDS)
def test_ends(text):
    assert ending_piece(list(text)) is not None
    assert ending_piece([text]) == 0


@pytest.mark.parametrize("text", DOES_NOT_END)
def test_does_not_end(text):
    assert ending_piece(list(text)) is None
    assert ending_piece([text]) is None


@given(st.sampled_from(ENDS + DOES_NOT_END), st.lists(st.integers(0, 100), max_size=8))
def test_cuts_into_tokens_make_no_difference(text, cuts):
    # Cut anyhow, the step ends with the piece that completes the same character of the text.
    pieces = pieces_of(text, cuts)
    index = ending_piece(list(text))
    found = ending_piece(pieces)
    if index is None:
        assert found is None
    else:
        assert len("".join(pieces[:found])) <= index < len("".join(pieces[: found + 1]))


def test_it_ends_with_the_first_separator_after_a_sentence():
    assert ending_piece(["One.", "\n\n", "Two.", "\n\n"]) == 1
    assert ending_piece(["One.\n", "\n", "Two.", "\n\n"]) == 1
    assert ending_piece(["One", ".\n\n", "Two"]) == 1
    assert ending_piece(["One:", "\n\n", "Two.", "\n\n"]) == 3


def test_reset_forgets_the_step():
    detector = StepDetector()
    detector.push("One.")
    detector.reset()
    assert detector.text == ""
    assert not detector.push("\n\n")


def test_another_separator():
    rule = StepRule(separator="<sep>")
    assert ending_piece(["One.", "<se", "p>"], rule) == 2
    assert ending_piece(["One.", "\n\n"], rule) is None
    with pytest.raises(ValueError, match="separator"):
        StepRule(separator="")
