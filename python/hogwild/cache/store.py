"""The named blocks of one session: as protocols see them, and as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from hogwild.cache.block import Block
from hogwild.cache.pool import Pool
from hogwild.cache.view import View, ViewSpec
from hogwild.errors import BlockError, UnknownNameError

__all__ = ["BlockSet", "BlockStore"]

_MOST_VIEWS = 256  # that are kept


class BlockStore(Protocol):
    """Block operations by name. Protocols know no more of the cache than this, so a list of ids can stand in."""

    def create(self, name: str) -> None:
        """Make an empty block. BlockError if the name is taken."""

    def names(self) -> list[str]:
        """Names of all blocks, in the order of their creation."""

    def length(self, name: str) -> int:
        """Tokens in the block."""

    def tokens(self, name: str) -> list[int]:
        """Ids of the block's tokens."""

    def append_from(self, dst: str, src: str, keep_source: bool = False) -> None:
        """Append all of `src` to `dst`, re-rotated; `src` is cleared unless it is to be kept."""

    def clear(self, name: str) -> None:
        """Drop the block's tokens."""

    def crop(self, name: str, length: int) -> None:
        """Keep the block's first `length` tokens."""

    def fork(self, src: str, dst: str) -> None:
        """Make `dst`, a copy of `src` that shares its pages until one of them is written to."""

    def drop(self, name: str) -> None:
        """Remove the block and free its pages."""


class BlockSet:
    """The `BlockStore` of a session on a real pool.

    Args:
        pool: where the blocks' pages come from.

    Attributes:
        dropped: how many blocks were dropped so far; views that were asked for before may be of those.

    Raises:
        TypeError: `pool` is no Pool.
    """

    def __init__(self, pool: Pool) -> None:
        if not isinstance(pool, Pool):
            raise TypeError(f"pool: expected a Pool, got {pool!r}")
        self.pool, self.dropped = pool, 0
        self._blocks: dict[str, Block] = {}
        self._views: dict[ViewSpec, View] = {}  # of the blocks as they are; decoding asks for the same ones

    def __getitem__(self, name: str) -> Block:
        try:
            return self._blocks[name]
        except KeyError:
            raise UnknownNameError("block", name, self._blocks) from None

    def __contains__(self, name: object) -> bool:
        return name in self._blocks

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def view(self, spec: ViewSpec) -> View:
        """The view that `spec` names."""
        view = self._views.get(spec)
        if view is None:
            view = View([self[name] for name in spec.blocks], self[spec.write_to])
            if len(self._views) >= _MOST_VIEWS:
                self._views.clear()
            self._views[spec] = view
        return view

    def create(self, name: str) -> None:
        self._put(name, Block(self.pool, name))

    def names(self) -> list[str]:
        return list(self._blocks)

    def length(self, name: str) -> int:
        return len(self[name])

    def tokens(self, name: str) -> list[int]:
        return list(self[name].tokens)

    def append_from(self, dst: str, src: str, keep_source: bool = False) -> None:
        self[dst].append_from(self[src], keep_other=keep_source)

    def clear(self, name: str) -> None:
        self[name].clear()

    def crop(self, name: str, length: int) -> None:
        self[name].crop(length)

    def fork(self, src: str, dst: str) -> None:
        self._free_name(dst)
        self._put(dst, self[src].fork(dst))

    def drop(self, name: str) -> None:
        block = self[name]
        self.dropped += 1
        self._views.clear()  # first: a Ctrl-C must not leave a view of what is gone
        del self._blocks[name]
        block.is_held = False
        block.free()

    def copy(self) -> BlockSet:
        """Forks of all blocks under their names: they share pages until one side writes to them."""
        twin = BlockSet(self.pool)
        for name, block in self._blocks.items():
            twin.put(name, block.fork(name))
        return twin

    def put(self, name: str, block: Block) -> None:
        """Take in a block of this pool, which is this set's from then on.

        Raises:
            BlockError: the name is taken, or the block is of another pool, or stands in a set: fork it.
        """
        if not isinstance(block, Block):
            raise TypeError(f"block: expected a Block, got {block!r}")
        if block.pool is not self.pool:
            raise BlockError(f"block: {block!r} belongs to another pool")
        if block.is_held:  # whoever drops or parks it would do so for the other as well
            raise BlockError(f"block: {block!r} stands in a set of blocks already; put a fork of it")
        self._put(name, block)

    def take_over(self, other: BlockSet) -> None:
        """Take in all blocks of another set of this pool, which has none then. BlockError if a name is taken."""
        for name in other._blocks:
            self._free_name(name)
        other._views.clear()
        for name in list(other._blocks):
            self._blocks[name] = other._blocks.pop(name)

    def free(self) -> None:
        """Drop all blocks."""
        for name in list(self._blocks):
            self.drop(name)

    def _free_name(self, name: str) -> None:
        if name in self._blocks:
            raise BlockError(f"name: there is a block {name!r} already")

    def _put(self, name: str, block: Block) -> None:
        self._free_name(name)
        block.is_held = True
        self._blocks[name] = block
