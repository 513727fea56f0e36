"""What a method answers within a budget of sequential forwards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BudgetAnswer:
    """The answer of one run within one budget (paper, section 4.1).

    Attributes:
        budget: how many sequential forwards the run might take.
        answer: what it answered; None if it was neither given nor asked for.
        given: the run itself gave the answer within the budget; otherwise it was made to answer at once, or,
            where a method looks at several texts before it answers, it did so.
        forwards: sequential forwards that the run took: `budget`, or fewer if it ended by itself before.
        text: what was written after the early-stop line, which the budget does not count; "" if given.
    """

    budget: int
    answer: str | None
    given: bool = False
    forwards: int = 0
    text: str = ""
