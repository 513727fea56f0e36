"""The integers of one forward, worked out on the host from views and reserved pages (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hogwild.cache.block import Block
from hogwild.cache.reservation import Reservation
from hogwild.cache.view import View

__all__ = ["Integers", "Sizes", "lay_out"]


class Sizes(NamedTuple):
    """How large the integer arguments of a forward are.

    Attributes:
        tokens: T, packed tokens.
        groups: G.
        blocks: B, of all groups together.
        columns: F, most blocks of a group.
        pages: most pages of a block, the width of the block table.
    """

    tokens: int
    groups: int
    blocks: int
    columns: int
    pages: int


@dataclass(frozen=True)
class Integers:
    """What `torch.ops.hogwild.append` and `attention` are told of a forward, as arrays and lists on the host.

    Attributes:
        slots: [T] int64; negative for padding.
        query_pos: [T, F] int32; -1 where a block is not seen.
        rotary_pos, own_block: [T] int32.
        blocks: the distinct blocks of each group, one group after the other.
        block_lens: tokens of each of them, those of this forward included.
        block_pages: pages of each block; the lists are the blocks' own.
        group_tokens, group_blocks: [G + 1] offsets.
        last_rows: packed index of each row's last token.
        view_lengths: tokens in each row's view once the forward is committed.
    """

    slots: np.ndarray
    query_pos: np.ndarray
    rotary_pos: np.ndarray
    own_block: np.ndarray
    blocks: list[Block]
    block_lens: list[int]
    block_pages: list[list[int]]
    group_tokens: list[int]
    group_blocks: list[int]
    last_rows: list[int]
    view_lengths: list[int]

    @property
    def sizes(self) -> Sizes:
        tokens, columns = self.query_pos.shape
        pages = max(map(len, self.block_pages))
        return Sizes(tokens, len(self.group_tokens) - 1, len(self.block_lens), columns, pages)


def lay_out(
    views: Sequence[View], widths: Sequence[int], reservations: Sequence[Reservation], page_size: int
) -> Integers:
    """Work them out.

    Args:
        views: of each row.
        widths: tokens of each row, padding on the left included.
        reservations: room for each row's new tokens, in the block that its view writes to; behind them those of
            others whose new tokens the rows see, too.
        page_size: tokens per page.
    """
    pages = {id(r.block): r.pages for r in reservations}
    lengths = {id(r.block): len(r.block.tokens) + r.count for r in reservations}
    groups = _groups(views)
    num_tokens, columns = sum(widths), max(len(blocks) for _, blocks in groups)
    query_pos: list[list[int]] = []
    rotary_pos: list[int] = []
    own_block: list[int] = []
    slots: list[int] = []
    group_tokens, group_blocks = [0], [0]
    block_pages: list[list[int]] = []
    block_lens: list[int] = []
    last_rows: list[int] = []
    view_lengths: list[int] = []

    row, end = 0, 0
    for members, blocks in groups:
        column: dict[int, int] = {}
        size: dict[int, int] = {}
        for key, block in blocks.items():
            column[key] = len(column)
            size[key] = lengths[key] if key in lengths else len(block.tokens)
            block_pages.append(pages[key] if key in pages else block.pages)
        block_lens.extend(size.values())
        for view in members:
            reservation = reservations[row]
            count, end = reservation.count, end + widths[row]
            line, length = [-1] * columns, 0
            for block in view.blocks:
                key = id(block)
                line[column[key]] = length  # where the block starts; -1 stays where there is none
                length += size[key]
            own = column[id(view.write_to)]
            first = size[id(view.write_to)] - count
            if count == widths[row] == 1:  # decoding: no arrays for single numbers
                query_pos.append([-1 if start < 0 else length - 1 - start for start in line])
                rotary_pos.append(first)
                own_block.append(own)
            else:
                padding = widths[row] - count
                starts: np.ndarray = np.array(line, np.int32)
                index: np.ndarray = np.arange(count, dtype=np.int32)
                seen = np.where(starts < 0, -1, index[:, None] + (length - count) - starts)
                query_pos.extend([[-1] * columns] * padding + seen.tolist())
                rotary_pos.extend([0] * padding + list(range(first, first + count)))
                own_block.extend([-1] * padding + [own] * count)
                slots.extend([-1] * padding)
            slots.extend(
                [
                    reservation.pages[i // page_size] * page_size + i % page_size
                    for i in range(first, first + count)
                ]
            )
            last_rows.append(end - 1)
            view_lengths.append(length)
            row += 1
        group_tokens.append(end)
        group_blocks.append(group_blocks[-1] + len(blocks))
    return Integers(
        slots=np.array(slots, np.int64),
        query_pos=np.array(query_pos, np.int32).reshape(num_tokens, columns),
        rotary_pos=np.array(rotary_pos, np.int32),
        own_block=np.array(own_block, np.int32),
        blocks=[block for _, blocks in groups for block in blocks.values()],
        block_lens=block_lens,
        block_pages=block_pages,
        group_tokens=group_tokens,
        group_blocks=group_blocks,
        last_rows=last_rows,
        view_lengths=view_lengths,
    )


def _groups(views: Sequence[View]) -> list[tuple[list[View], dict[int, Block]]]:
    """Runs of rows whose views share blocks, and the distinct blocks of each run in order of appearance, by id."""
    groups: list[tuple[list[View], dict[int, Block]]] = []
    for view in views:
        if not groups or not any(id(block) in groups[-1][1] for block in view.blocks):
            groups.append(([], {}))
        members, blocks = groups[-1]
        members.append(view)
        for block in view.blocks:
            blocks.setdefault(id(block), block)
    return groups
