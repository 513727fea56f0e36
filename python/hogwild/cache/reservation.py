"""Room at the end of a block that becomes part of it only when the forward that fills it has succeeded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from hogwild.errors import BlockError

if TYPE_CHECKING:
    from hogwild.cache.block import Block

__all__ = ["UNKNOWN_TOKEN", "Reservation", "slots_of"]

UNKNOWN_TOKEN = -1  # stands in `Block.tokens` for a token whose id the writer did not tell


class Reservation:
    """Room for `count` tokens at the end of a block, invisible until `commit`.

    A last page shared with a fork is copied first (copy-on-write).

    Args:
        block: the block to be appended to.
        count: number of tokens.

    Raises:
        PoolExhausted: nothing was taken.
        BlockError: the block is parked in host memory.
    """

    __slots__ = ("_before", "_drop", "_length", "_new", "block", "count", "pages")

    def __init__(self, block: Block, count: int) -> None:
        pool, length = block.pool, len(block.tokens)
        size, pages = pool.page_size, list(block.pages)
        self.block, self.count = block, count
        self._length, self._before = length, pages
        self._new: list[int] = []
        self._drop: list[int] = []
        tail = length % size
        if 0 < tail <= size - count and length < len(pages) * size and not pool.is_shared(pages[-1]):
            self.pages = pages  # there is room on the last page, as mostly when decoding
            return
        block.check_present()
        copy_tail = bool(tail) and pool.is_shared(block.pages[-1])
        new = pool.pages_for(length + count) - len(block.pages) + copy_tail
        self._new = pool.allocate(new) if new else []
        pool.reserved_pages += new
        self._drop = block.pages[-1:] if copy_tail else []
        kept = block.pages[:-1] if copy_tail else block.pages
        self.pages = kept + self._new  # page list of the block as it will be
        if copy_tail:
            try:
                pool.copy_page(block.pages[-1], self._new[0], tail)
            except BaseException:
                self.rollback()
                raise

    def following(self) -> Reservation | None:
        """One for a token behind these, before they are committed, where that takes no page; see `holds`."""
        block, length = self.block, self._length + self.count
        if not length % block.pool.page_size:
            return None
        after = object.__new__(Reservation)
        after.block, after.count, after.pages = block, 1, self.pages
        after._length, after._before, after._new, after._drop = length, self.pages, [], []
        return after

    def holds(self) -> bool:
        """Whether the block has become what `following` expected, and can be written to as it stands."""
        block, pages = self.block, self.pages
        return (
            len(block.tokens) == self._length and block.pages == pages and not block.pool.is_shared(pages[-1])
        )

    @property
    def slots(self) -> torch.Tensor:
        """Slots of the new tokens: [count] int64, on the CPU."""
        return slots_of(self.pages, self.block.pool.page_size, self._length, self._length + self.count)

    @staticmethod
    def pages_needed(block: Block, count: int) -> int:
        """Free pages that reserving `count` tokens takes; BlockError if the block is parked."""
        block.check_present()
        pool, length = block.pool, len(block)
        copy_tail = bool(length % pool.page_size) and pool.is_shared(block.pages[-1])
        return pool.pages_for(length + count) - len(block.pages) + copy_tail

    def check(self) -> None:
        """Raise BlockError if the block was changed since, so that committing would corrupt it."""
        if len(self.block.tokens) != self._length or self.block.pages != self._before:
            raise BlockError(f"{self.block!r} was changed while a forward was writing to it")

    def commit(self, tokens: Sequence[int] | None = None) -> None:
        """Make the tokens part of the block. `tokens`: their ids, where known."""
        self.check()
        self.commit_checked(tokens)

    def commit_checked(self, tokens: Sequence[int] | None = None) -> None:
        """`commit` for who has just called `check`."""
        block = self.block
        if self._new or self._drop:
            block.pool.reserved_pages -= len(self._new)
            block.pages[:] = self.pages
        block.changes += 1
        block.tokens.extend([UNKNOWN_TOKEN] * self.count if tokens is None else tokens)
        if self._drop:
            block.pool.release(self._drop)

    def rollback(self) -> None:
        """Give the new pages back; the block stays as it was, but for what may have been written behind its end."""
        self.block.changes += 1
        if self._new:
            self.block.pool.reserved_pages -= len(self._new)
            self.block.pool.release(self._new)


def slots_of(pages: Sequence[int], page_size: int, start: int, stop: int) -> torch.Tensor:
    """Slots of tokens `start` to `stop` of a block with these pages: [stop - start] int64, on the CPU."""
    if stop - start == 1:  # decoding: one token a forward
        return torch.tensor([pages[start // page_size] * page_size + start % page_size])
    index = torch.arange(start, stop)
    page = torch.tensor(pages, dtype=torch.int64)[index // page_size] if stop > start else index
    return page * page_size + index % page_size
