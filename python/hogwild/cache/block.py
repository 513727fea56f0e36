"""An append-only run of tokens with their keys and values."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from hogwild.cache.pool import Pool
from hogwild.errors import BlockError

__all__ = ["UNKNOWN_TOKEN", "Block"]

UNKNOWN_TOKEN = -1  # stands in `Block.tokens` for a token whose id the writer did not tell


class Block:
    """A run of tokens whose keys are stored as if its first token stood at position 0 (paper, Appendix B).

    Keys and values live in the pool's pages, once, whoever looks at them. A block frees its pages when it is
    collected. Forwards append through `ForwardPlan`; the methods here rearrange what is written.

    Args:
        pool: where the pages come from.
        name: for messages and traces.
    """

    __slots__ = ("__weakref__", "_finalizer", "name", "pages", "pool", "tokens")

    def __init__(self, pool: Pool, name: str = "") -> None:
        if not isinstance(pool, Pool):
            raise TypeError(f"pool: expected a Pool, got {type(pool).__name__}")
        self.pool, self.name = pool, name
        self.tokens: list[int] = []
        self.pages: list[int] = []
        # the list is shared with the finalizer, so it is only ever changed in place
        self._finalizer = weakref.finalize(self, pool.release, self.pages)

    def __len__(self) -> int:
        return len(self.tokens)

    def __bool__(self) -> bool:
        """A block is a block, also when it is empty."""
        return True

    def __repr__(self) -> str:
        return f"Block({self.name or hex(id(self))}, {len(self)} tokens)"

    def append_from(self, other: Block, keep_other: bool = False) -> None:
        """Append all of `other`, its keys rotated to their new positions (paper, sections 3.2 and 3.4).

        Args:
            other: another block of the same pool.
            keep_other: leave `other` as it is; by default it is cleared.

        Raises:
            BlockError: `other` is this block or belongs to another pool.
            PoolExhausted: not enough free pages; both blocks are as they were.
        """
        if other is self:
            raise BlockError(f"other: {self!r} cannot be appended to itself")
        if other.pool is not self.pool:
            raise BlockError(f"other: {other!r} and {self!r} belong to two pools (two models?)")
        count, length = len(other), len(self)
        if count:
            reservation = Reservation(self, count)
            try:
                source, target = other.slots(0, count), reservation.slots
                for layer in self.pool.layers.values():
                    layer.move(source, target, shift=length)
            except BaseException:
                reservation.rollback()
                raise
            reservation.commit(other.tokens)
        if not keep_other:
            other.clear()

    def clear(self) -> None:
        """Drop all tokens and free their pages."""
        self.crop(0)

    def crop(self, length: int) -> None:
        """Keep the first `length` tokens and free what is behind them.

        Raises:
            ValueError: `length` is negative or more than there are.
        """
        if not 0 <= length <= len(self):
            raise ValueError(f"length: expected 0 to {len(self)} for {self!r}, got {length}")
        keep = self.pool.pages_for(length)
        freed = self.pages[keep:]
        del self.pages[keep:]
        del self.tokens[length:]
        self.pool.release(freed)

    def fork(self, name: str | None = None) -> Block:
        """A block with the same tokens that shares the pages; a shared page is copied when one side writes to it."""
        twin = Block(self.pool, self.name if name is None else name)
        self.pool.share(self.pages)
        twin.pages.extend(self.pages)
        twin.tokens.extend(self.tokens)
        return twin

    def free(self) -> None:
        """Give all pages back now, without waiting for the collector. The block is empty and can be used again."""
        self.clear()

    def slots(self, start: int, stop: int) -> torch.Tensor:
        """Slots ``page * page_size + offset`` of tokens `start` to `stop`: [stop - start] int64, on the CPU."""
        return slots_of(self.pages, self.pool.page_size, start, stop)


class Reservation:
    """Room for `count` tokens at the end of a block, invisible until `commit`.

    A last page shared with a fork is copied first (copy-on-write).

    Args:
        block: the block to be appended to.
        count: number of tokens.

    Raises:
        PoolExhausted: nothing was taken.
    """

    __slots__ = ("_drop", "_new", "block", "count", "pages", "slots")

    def __init__(self, block: Block, count: int) -> None:
        pool, length = block.pool, len(block)
        self.block, self.count = block, count
        tail = length % pool.page_size
        copy_tail = bool(tail) and pool.is_shared(block.pages[-1])
        extra = pool.pages_for(length + count) - len(block.pages)
        self._new = pool.allocate(extra + copy_tail)
        self._drop = block.pages[-1:] if copy_tail else []
        kept = block.pages[:-1] if copy_tail else block.pages
        self.pages = kept + self._new  # page list of the block as it will be
        if copy_tail:
            pool.copy_page(block.pages[-1], self._new[0], tail)
        self.slots = slots_of(self.pages, pool.page_size, length, length + count)

    @staticmethod
    def pages_needed(block: Block, count: int) -> int:
        """Free pages that reserving `count` tokens takes."""
        pool, length = block.pool, len(block)
        copy_tail = bool(length % pool.page_size) and pool.is_shared(block.pages[-1])
        return pool.pages_for(length + count) - len(block.pages) + copy_tail

    def commit(self, tokens: Sequence[int] | None = None) -> None:
        """Make the tokens part of the block. `tokens`: their ids, where known."""
        self.block.pages[:] = self.pages
        self.block.tokens.extend([UNKNOWN_TOKEN] * self.count if tokens is None else tokens)
        self.block.pool.release(self._drop)

    def rollback(self) -> None:
        """Give the new pages back; the block stays as it was."""
        self.block.pool.release(self._new)


def slots_of(pages: Sequence[int], page_size: int, start: int, stop: int) -> torch.Tensor:
    """Slots of tokens `start` to `stop` of a block with these pages: [stop - start] int64, on the CPU."""
    if stop - start == 1:  # decoding: one token a forward
        return torch.tensor([pages[start // page_size] * page_size + start % page_size])
    index = torch.arange(start, stop)
    page = torch.tensor(pages, dtype=torch.int64)[index // page_size] if stop > start else index
    return page * page_size + index % page_size
