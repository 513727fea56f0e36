"""What one worker attends to: an ordered list of blocks, one of which it writes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hogwild.cache.block import Block
from hogwild.errors import BlockError

__all__ = ["View", "ViewSpec"]


@dataclass(frozen=True)
class ViewSpec:
    """A view by the names of its blocks; what layouts and protocols speak of.

    Attributes:
        blocks: names of the blocks, in the order in which the worker sees them.
        write_to: name of the block that the worker's tokens are written to; one of `blocks`.
    """

    blocks: tuple[str, ...]
    write_to: str

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, tuple):
            if isinstance(self.blocks, str) or not isinstance(self.blocks, Sequence):  # letters are no names
                raise TypeError(f"blocks: expected names of blocks, got {self.blocks!r}")
            object.__setattr__(self, "blocks", tuple(self.blocks))
        _check("blocks", self.blocks)
        if self.write_to not in self.blocks:
            raise BlockError(f"write_to={self.write_to!r} is not in the view {list(self.blocks)}")


class View:
    """An ordered list of blocks that a worker attends to, and the block it writes to.

    Args:
        blocks: the blocks in the order in which the worker sees them. All of one pool, each at most once.
        write_to: the block that new tokens are written to; by default the last one.

    Raises:
        BlockError: no blocks, a block twice, blocks of two pools, or a write target that is not in `blocks`.
    """

    __slots__ = ("blocks", "own", "write_to")

    def __init__(self, blocks: Sequence[Block], write_to: Block | None = None) -> None:
        if not isinstance(blocks, Iterable):
            raise TypeError(f"blocks: expected Block objects, got {blocks!r}")
        self.blocks = tuple(blocks)
        for block in self.blocks:
            if not isinstance(block, Block):
                raise TypeError(f"blocks: expected Block objects, got {type(block).__name__}")
        _check("blocks", self.blocks)
        self.write_to = self.blocks[-1] if write_to is None else write_to
        pool = self.blocks[0].pool
        for block in self.blocks:
            if block.pool is not pool:
                raise BlockError(
                    f"blocks: {self.blocks[0]!r} and {block!r} belong to two pools (two models?)"
                )
        for index, block in enumerate(self.blocks):
            if block is self.write_to:
                self.own = index
                return
        raise BlockError(
            f"write_to: {self.write_to!r} is not among the blocks of the view {list(self.blocks)}"
        )

    def __len__(self) -> int:
        """Tokens in view."""
        return sum(len(block) for block in self.blocks)

    def __repr__(self) -> str:
        return f"View({list(self.blocks)}, write_to={self.write_to!r})"


def _check(name: str, blocks: Sequence[object]) -> None:
    if not blocks:
        raise BlockError(f"{name}: a view needs at least one block, got none")
    # identity for Block objects, equality for names: both hash that way
    if len(set(blocks)) != len(blocks):
        raise BlockError(f"{name}: every block may appear once in a view, got {list(blocks)}")
