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

    __slots__ = ("_before", "_views", "_written", "growth", "integers")

    def __init__(self, views: Sequence[View], integers: Integers, growth: np.ndarray | None = None) -> None:
        self._views = list(views)
        self._written = [  # by row: which of all blocks it writes to
            blocks + own
            for begin, end, blocks in zip(
                integers.group_tokens, integers.group_tokens[1:], integers.group_blocks, strict=False
            )
            for own in integers.own_block[begin:end].tolist()
        ]
        self._before = list(integers.block_lens)
        lengths = list(integers.block_lens)
        for block in self._written:
            lengths[block] += 1
        self.growth = _growth(integers) if growth is None else growth
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
        pages = [block.pages for block in integers.blocks]
        slots = []
        for first, block, reservation in zip(
            integers.rotary_pos.tolist(), self._written, reservations, strict=True
        ):
            pages[block] = reservation.pages
            slots.append(reservation.pages[first // page_size] * page_size + first % page_size)
        integers.slots[:] = slots
        integers.block_pages[:] = pages
        return integers


def _growth(integers: Integers) -> np.ndarray:
    """[T, F]: how many of the blocks that are written stand in a token's view at or after each block."""
    growth = np.zeros_like(integers.query_pos)
    for begin, end in zip(integers.group_tokens, integers.group_tokens[1:], strict=False):
        seen = integers.query_pos[begin:end]
        written = seen[:, None, integers.own_block[begin:end]]  # distances to where they start, -1 for none
        growth[begin:end] = ((written >= 0) & (written <= seen[:, :, None])).sum(-1)
    return growth
