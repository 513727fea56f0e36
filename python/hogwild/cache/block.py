"""An append-only run of tokens with their keys and values."""

from __future__ import annotations

import operator
import weakref
from typing import TYPE_CHECKING, Any

import torch

from hogwild.cache.pool import Pool
from hogwild.cache.reservation import Reservation, slots_of
from hogwild.errors import BlockError

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["Block"]


class Block:
    """A run of tokens whose keys are stored as if its first token stood at position 0 (paper, Appendix B).

    Keys and values live in the pool's pages, once, whoever looks at them. A block frees its pages when it is
    collected. Forwards append through `ForwardPlan`; the methods here rearrange what is written.

    Args:
        pool: where the pages come from.
        name: for messages and traces.

    Attributes:
        changes: how many times tokens were added or taken away, something may have been written behind its end, or the
            block was parked; who reads it may note that.
        is_held: whether it stands in a set of blocks, of which there can be one.
    """

    __slots__ = ("__weakref__", "_finalizer", "changes", "is_held", "name", "pages", "pool", "tokens")

    def __init__(self, pool: Pool, name: str = "") -> None:
        if not isinstance(pool, Pool):
            raise TypeError(f"pool: expected a Pool, got {type(pool).__name__}")
        self.pool, self.name = pool, name
        self.changes = 0
        self.is_held = False
        self.tokens: list[int] = []
        self.pages: list[int] = []
        # the list is shared with the finalizer, so it is only ever changed in place
        self._finalizer = weakref.finalize(self, pool.abandon, self.pages)
        self._finalizer.atexit = False

    def __len__(self) -> int:
        return len(self.tokens)

    def __bool__(self) -> bool:
        """A block is a block, also when it is empty."""
        return True

    def __repr__(self) -> str:
        return f"Block({self.name or hex(id(self))}, {len(self)} tokens)"

    def __copy__(self) -> Self:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A fork in the same pool: a copy of the block, not of the memory of all blocks."""
        return self.fork()

    def append_from(self, other: Block, keep_other: bool = True) -> None:
        """Append all of `other`, its keys rotated to their new positions (paper, sections 3.2 and 3.4).

        Args:
            other: another block of the same pool.
            keep_other: leave `other` as it is; otherwise it is cleared.

        Raises:
            BlockError: `other` is this block or belongs to another pool.
            PoolExhausted: not enough free pages; both blocks are as they were.
        """
        if not isinstance(other, Block):
            raise TypeError(f"other: expected a Block, got {type(other).__name__}")
        if other is self:
            raise BlockError(f"other: {self!r} cannot be appended to itself")
        if other.pool is not self.pool:
            raise BlockError(f"other: {other!r} and {self!r} belong to two pools (two models?)")
        count, length = len(other), len(self)
        if count:
            reservation = Reservation(self, count)
            try:
                self.pool.move(other.slots(0, count), reservation.slots, shift=length)
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
        length = self._checked_length(length)
        self.check_present()
        self.changes += 1
        keep = self.pool.pages_for(length)
        freed = self.pages[keep:]
        del self.pages[keep:]
        del self.tokens[length:]
        self.pool.release(freed)

    def fork(self, name: str | None = None) -> Self:
        """A block with the same tokens that shares the pages; a shared page is copied when one side writes to it."""
        self.check_present()
        twin = type(self)(pool=self.pool, name=self.name if name is None else name)
        self.pool.share(self.pages)
        twin.pages.extend(self.pages)
        twin.tokens.extend(self.tokens)
        return twin

    def take_over(self, other: Block, length: int) -> None:
        """Become the first `length` tokens of `other`, as a fork of it would be; what was here before is dropped.

        Raises:
            BlockError: `other` belongs to another pool, is parked, or is this block.
            ValueError: `length` is negative or more than `other` has.
        """
        if not isinstance(other, Block):
            raise TypeError(f"other: expected a Block, got {other!r}")
        if other is self or other.pool is not self.pool:
            raise BlockError(f"other: expected another block of the pool of {self!r}, got {other!r}")
        length = other._checked_length(length)
        self.check_present()
        other.check_present()
        pages = other.pages[: self.pool.pages_for(length)]
        self.pool.share(pages)
        self.clear()  # which counts as the change
        self.pages.extend(pages)
        self.tokens.extend(other.tokens[:length])

    def free(self) -> None:
        """Give all pages back now, without waiting for the collector. The block is empty and can be used again."""
        self.clear()

    def _checked_length(self, length: int) -> int:
        """As an integer, if the block has so many tokens."""
        try:
            length = operator.index(length)
        except TypeError:
            raise TypeError(f"length: expected an integer, got {length!r}") from None
        if not 0 <= length <= len(self):
            raise ValueError(f"length: expected 0 to {len(self)} for {self!r}, got {length}")
        return length

    def check_present(self) -> None:
        """Raise BlockError where the pages of the tokens are away, in host memory (`hogwild.cache.Parking`)."""
        if len(self.pages) < self.pool.pages_for(len(self)):
            raise BlockError(f"{self!r} is parked in host memory: its session waits for free pages")

    def slots(self, start: int, stop: int) -> torch.Tensor:
        """Slots ``page * page_size + offset`` of tokens `start` to `stop`: [stop - start] int64, on the CPU."""
        self.check_present()
        return slots_of(self.pages, self.pool.page_size, start, stop)
