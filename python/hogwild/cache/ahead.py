"""The integers of the next forward, worked out before it is known that it comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from hogwild.cache.integers import Integers
from hogwild.cache.reservation import Reservation
from hogwild.cache.view import View

__all__ = ["Ahead"]


class Ahead:
    """What a forward of one token a row becomes when each row writes one token more to the same view.

    Decoding does that nearly always, and the host has nothing to do while the device computes. Which pages the
    tokens go to is left open: pages are taken only by the forward that needs them.

    Args:
        views: of each row.
        integers: of the forward that runs.
        growth: `growth` of the `Ahead` that `integers` came from, if they came from one.

    Attributes:
        integers: of the next forward, but for `slots` and `block_pages`.
        growth: by how much `query_pos` grows; the same in each further forward.
    """

    __slots__ = ("_before", "_rows", "_views", "growth", "integers")

    def __init__(self, views: Sequence[View], integers: Integers, growth: np.ndarray | None = None) -> None:
        self._views = list(views)
        # By block, which may stand in groups that are apart, and then it is written to in one of them.
        self._rows = {id(view.write_to): row for row, view in enumerate(views)}
        written = [id(block) in self._rows for block in integers.blocks]
        self._before = list(integers.block_lens)
        lengths = [length + more for length, more in zip(integers.block_lens, written, strict=True)]
        self.growth = _growth(integers, written) if growth is None else growth
        # A view's first block with a token is seen from its end, so it grows by as much as the view.
        grown = self.growth.max(1, initial=0).tolist()
        self.integers = dataclasses.replace(
            integers,
            slots=np.zeros_like(integers.slots),
            query_pos=integers.query_pos + self.growth,
            rotary_pos=integers.rotary_pos + 1,
            block_lens=lengths,
            block_pages=[],
            view_lengths=[length + more for length, more in zip(integers.view_lengths, grown, strict=True)],
        )

    def take(
        self, views: Sequence[View], reservations: Sequence[Reservation], page_size: int
    ) -> Integers | None:
        """The integers of a forward over these rows, whole; None if it is not the one that was expected."""
        integers = self.integers
        if self._views != views or any(reservation.count != 1 for reservation in reservations):
            return None
        if self._before != [len(block.tokens) for block in integers.blocks]:
            return None
        rows = [self._rows.get(id(block)) for block in integers.blocks]
        pages = [
            block.pages if row is None else reservations[row].pages
            for block, row in zip(integers.blocks, rows, strict=True)
        ]
        slots = [
            reservation.pages[first // page_size] * page_size + first % page_size
            for first, reservation in zip(integers.rotary_pos.tolist(), reservations, strict=True)
        ]
        integers.slots[:] = slots
        integers.block_pages[:] = pages
        return integers


def _growth(integers: Integers, written: Sequence[bool]) -> np.ndarray:
    """[T, F]: how many of the blocks that are written stand in a token's view at or after each block."""
    growth = np.zeros_like(integers.query_pos)
    tokens, blocks = integers.group_tokens, integers.group_blocks
    for begin, end, first, last in zip(tokens, tokens[1:], blocks, blocks[1:], strict=False):
        seen = integers.query_pos[begin:end]
        # distances to where the written ones start, -1 for those that are not seen
        starts = seen[:, None, np.flatnonzero(written[first:last])]
        growth[begin:end] = ((starts >= 0) & (starts <= seen[:, :, None])).sum(-1)
    return growth
