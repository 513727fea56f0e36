"""One forward of two parts: rows that are as if alone, and guests that see them and leave no trace."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.cache.plan import ForwardPlan
from hogwild.cache.view import View
from hogwild.errors import BlockError

__all__ = ["PlanWithGuests"]


class PlanWithGuests:
    """A forward some of whose rows are guests: two plans, carried out one after the other, that end as one.

    The hosts' plan is that of a forward without guests. Its keys and values are written before the guests attend, so
    guests see the others' new tokens as in any forward.

    Args:
        hosts, guests: (view, token ids) of each row, at least one of each.

    Attributes:
        parts: the plans of the hosts and of the guests.
        counts, num_tokens, last_rows, view_lengths: as in `ForwardPlan`, the hosts' rows first.

    Raises:
        BlockError: as in `ForwardPlan`, or a host sees a block that a guest writes to.
        PoolExhausted: not enough free pages for all rows together.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[View, Sequence[int] | int]],
        guests: Sequence[tuple[View, Sequence[int] | int]],
    ) -> None:
        seen = {id(block): block for view, _ in hosts for block in view.blocks}
        for row, (view, _) in enumerate(guests):
            if id(view.write_to) in seen:
                raise BlockError(
                    f"guests[{row}]: it writes to {view.write_to!r}, which a host sees: a guest leaves no trace"
                )
        first = ForwardPlan(hosts)
        try:
            second = ForwardPlan(guests, beside=first)
        except BaseException:
            first.rollback()
            raise
        self.parts = (first, second)
        self.counts = [*first.counts, *second.counts]
        self.num_tokens = first.num_tokens + second.num_tokens
        self.last_rows = [*first.last_rows, *(first.num_tokens + row for row in second.last_rows)]
        self.view_lengths = [*first.view_lengths, *second.view_lengths]

    def ahead(self) -> None:
        """Nothing: the next forward has no guests, most likely."""

    def commit(self, rows: Sequence[int] | None = None) -> None:
        """As `ForwardPlan.commit`, of both parts: all of it or, after a BlockError, nothing."""
        first, second = self.parts
        keep = range(len(self.counts)) if rows is None else sorted(rows)
        of_first = [row for row in keep if row < len(first.counts)]
        of_second = [row - len(first.counts) for row in keep if row >= len(first.counts)]
        second.check(of_second)
        first.commit(of_first)
        second.commit(of_second)

    def rollback(self) -> None:
        """Leave every block as it was before the plan; harmless after `commit`."""
        for part in self.parts:
            part.rollback()
