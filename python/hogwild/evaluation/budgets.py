"""Budgets of sequential forwards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def check_budgets(budgets: Sequence[int]) -> tuple[int, ...]:
    """The budgets, if they are whole numbers above 0, each larger than the one before.

    Raises:
        ValueError, TypeError: they are not.
    """
    for budget in budgets:
        if isinstance(budget, bool) or not isinstance(budget, int):
            raise TypeError(f"budgets: expected whole numbers, got {budget!r}")
    if not budgets or budgets[0] < 1 or any(a >= b for a, b in pairwise(budgets)):
        raise ValueError(
            f"budgets: expected whole numbers above 0, each larger than the one before, got {list(budgets)}"
        )
    return tuple(budgets)


def parse_budgets(text: str) -> tuple[int, ...]:
    """Budgets from a text such as "256,512,1024".

    Raises:
        ValueError: it is something else.
    """
    try:
        budgets = [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"budgets: expected whole numbers with commas between them, got {text!r}") from None
    return check_budgets(budgets)
