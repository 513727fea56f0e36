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
        block_lens: tokens of each block, those of this forward included.
        block_pages: pages of each block; the lists are the blocks' own.
        group_tokens, group_blocks: [G + 1] offsets.
        last_rows: packed index of each row's last token.
        view_lengths: tokens in each row's view once the forward is committed.
    """

    slots: np.ndarray
    query_pos: np.ndarray
    rotary_pos: np.ndarray
    own_block: np.ndarray
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
        reservations: room for each row's new tokens, in the block that its view writes to.
        page_size: tokens per page.
    """
    pages = {id(r.block): r.pages for r in reservations}
    lengths = {id(r.block): len(r.block) + r.count for r in reservations}
    num_tokens = sum(widths)
    groups = _groups(views)
    query_pos = np.full((num_tokens, max(len(blocks) for _, blocks in groups)), -1, np.int32)
    rotary_pos = np.zeros(num_tokens, np.int32)
    own_block = np.full(num_tokens, -1, np.int32)
    slots = np.full(num_tokens, -1, np.int64)
    result = Integers(slots, query_pos, rotary_pos, own_block, [], [], [0], [0], [], [])

    row, end = 0, 0
    for members, blocks in groups:
        column = {key: index for index, key in enumerate(blocks)}
        for view in members:
            reservation = reservations[row]
            count, end = reservation.count, end + widths[row]
            starts, length = [], 0
            for block in view.blocks:
                starts.append((column[id(block)], length))
                length += lengths.get(id(block), len(block))
            first, begin = len(view.write_to), end - count
            if count == 1:  # decoding: no arrays for single numbers
                line = query_pos[begin]
                for index, start in starts:
                    line[index] = length - 1 - start
                rotary_pos[begin] = first
                slots[begin] = reservation.pages[first // page_size] * page_size + first % page_size
            else:
                position = np.arange(length - count, length, dtype=np.int32)
                for index, start in starts:
                    query_pos[begin:end, index] = position - start
                rotary_pos[begin:end] = np.arange(first, first + count)
                slots[begin:end] = reservation.slots.numpy()
            own_block[begin:end] = column[id(view.write_to)]
            result.last_rows.append(end - 1)
            result.view_lengths.append(length)
            row += 1
        result.group_tokens.append(end)
        result.group_blocks.append(result.group_blocks[-1] + len(blocks))
        for key, block in blocks.items():
            result.block_pages.append(pages.get(key, block.pages))
            result.block_lens.append(lengths.get(key, len(block)))
    return result


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
