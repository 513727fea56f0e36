"""The integers of the next forward, worked out before it is known that it comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from hogwild.cache.integers import Integers
from hogwild.cache.pool import Pool
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
        reservations: its own.
        growth: `growth` of the `Ahead` that `integers` came from, if they came from one.

    Attributes:
        integers: of the next forward, but for `slots` and `block_pages`.
        reservations: for each row; good if it still `holds`, and None where a page is to be taken.
        growth: by how much `query_pos` grows; the same in each further forward.
    """

    __slots__ = (
        "_before",
        "_counts",
        "_places",
        "_running",
        "_taken",
        "_views",
        "_written",
        "growth",
        "integers",
        "reservations",
    )

    def __init__(
        self,
        views: Sequence[View],
        integers: Integers,
        reservations: Sequence[Reservation],
        growth: np.ndarray | None = None,
    ) -> None:
        self._views, self._counts = list(views), [1] * len(views)
        self._running = list(reservations)
        self._taken: int | None = None  # what `Pool.taken` is to be when the pages that were told are taken
        self.reservations = [reservation.following() for reservation in reservations]
        # By block, which may stand in groups that are apart, and then it is written to in one of them.
        rows = {id(view.write_to): row for row, view in enumerate(views)}
        written = [id(block) in rows for block in integers.blocks]
        self._written = [(i, rows[id(block)]) for i, block in enumerate(integers.blocks) if written[i]]
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
            block_pages=[block.pages for block in integers.blocks],  # which are only ever changed in place
            view_lengths=[length + more for length, more in zip(integers.view_lengths, grown, strict=True)],
        )
        size = views[0].write_to.pool.page_size
        self._places = [divmod(first, size) for first in self.integers.rotary_pos.tolist()]

    @property
    def pool(self) -> Pool:
        return self._views[0].write_to.pool

    @property
    def view_lengths(self) -> list[int]:
        """Tokens in each row's view once the next forward is committed."""
        return self.integers.view_lengths

    @property
    def is_open(self) -> bool:
        """Never: nothing is reserved for it, as for a plan."""
        return False

    def settle(self) -> Integers | None:
        """The whole integers, before the forward that runs is committed; None if pages cannot be told beforehand.

        Nothing is reserved: where a row begins a page, that is the one that will be taken if nothing else happens.
        """
        missing = self.reservations.count(None)
        # noted first: other threads take pages at any time
        self._taken = self.pool.taken + missing if missing else None
        pages = self.pool.next_pages(missing)
        if pages is None:
            return None
        following = iter(pages)
        return self._settle(
            [
                running.pages + [next(following)] if reservation is None else reservation.pages
                for running, reservation in zip(self._running, self.reservations, strict=True)
            ]
        )

    def keeps_pages(self) -> bool:
        """Whether nobody has had the pages that `settle` told, now that the forward has taken its pages."""
        return self._taken is None or self._taken == self.pool.taken

    def changes(self) -> list[int]:
        """What `Block.changes` of each block will be once the forward that runs is committed."""
        found = [block.changes for block in self.integers.blocks]
        for index, _ in self._written:
            found[index] += 1
        return found

    def expects(self, views: Sequence[View], counts: Sequence[int]) -> bool:
        """Whether these are its views, with one token each: then they are as right as the forward's before were."""
        return self._views == views and self._counts == counts

    def take(self, reservations: Sequence[Reservation]) -> Integers | None:
        """The integers of a forward that it `expects`, whole; None where a block is not as it was expected."""
        integers = self.integers
        if self._before != [len(block.tokens) for block in integers.blocks]:
            return None
        return self._settle([reservation.pages for reservation in reservations])

    def _settle(self, pages: Sequence[list[int]]) -> Integers:
        """Fill in where the tokens go: the pages of each row's block."""
        integers, page_size = self.integers, self.pool.page_size
        for index, row in self._written:
            integers.block_pages[index] = pages[row]
        integers.slots[:] = [
            of_row[page] * page_size + offset
            for of_row, (page, offset) in zip(pages, self._places, strict=True)
        ]
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
