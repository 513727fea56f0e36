"""What one forward reads and writes: the views of its rows turned into the integers that the ops take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hogwild.cache.block import Block
from hogwild.cache.pool import Pool
from hogwild.cache.reservation import Reservation
from hogwild.cache.rotary import Rotary
from hogwild.cache.view import View
from hogwild.errors import BlockError, PoolExhausted

__all__ = ["ForwardPlan", "Metadata"]


@dataclass(frozen=True)
class Metadata:
    """Integer arguments of `torch.ops.hogwild.append` and `attention`, on one device (docs/architecture.md)."""

    slots: torch.Tensor
    block_table: torch.Tensor
    block_lens: torch.Tensor
    group_tokens: torch.Tensor
    group_blocks: torch.Tensor
    query_pos: torch.Tensor
    rotary_pos: torch.Tensor
    own_block: torch.Tensor

    def to(self, device: torch.device) -> Metadata:
        """The same on another device."""
        return Metadata(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


class ForwardPlan:
    """One forward over new tokens of any number of workers and sessions.

    Making a plan reserves the pages that the forward fills; nothing is visible in the blocks until `commit`,
    and `rollback` (or an exception in here) leaves every block as it was. Neighbouring rows that share a
    block form a group, whose keys and values the attention op reads once for all of them.

    Args:
        rows: (view, token ids) of each worker, in packed order; ids are needed only where text is wanted
            later, so an int, the number of tokens, will do.
        width: None packs the rows into ``[1, T]``; a number pads each row on the left to that many tokens, in a
            batch ``[rows, width]`` as Hugging Face tokenizers make it.

    Attributes:
        num_tokens: T, padding included.
        position_ids: [1, T] or [rows, width] int64 on the CPU: each token's index in the block written to.
        last_rows: packed index of each row's last token.
        view_lengths: tokens in each row's view once this forward is committed.

    Raises:
        BlockError: no rows, a row without tokens, two pools, or two rows that write to one block.
        PoolExhausted: not enough free pages for all rows together.
    """

    def __init__(self, rows: Sequence[tuple[View, Sequence[int] | int]], width: int | None = None) -> None:
        self.views = [view for view, _ in rows]
        self._ids = [None if isinstance(tokens, int) else list(tokens) for _, tokens in rows]
        counts = [tokens if isinstance(tokens, int) else len(tokens) for _, tokens in rows]
        self._check(counts, width)
        self.pool: Pool = self.views[0].blocks[0].pool
        self.counts, self._width = counts, width
        self._metadata: dict[torch.device, Metadata] = {}
        self._rotations: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._reservations = self._reserve(counts)
        self._open = True
        try:
            self._lay_out()
        except BaseException:
            self.rollback()
            raise

    @property
    def input_ids(self) -> torch.Tensor:
        """Token ids in packed order, [1, T] int64 on the CPU; all rows must have been given by their ids."""
        if self._width is not None or any(ids is None for ids in self._ids):
            raise ValueError(
                "rows: input_ids exist for packed plans whose rows were given by their token ids"
            )
        return torch.tensor([[token for ids in self._ids for token in ids or ()]])

    def metadata(self, device: torch.device) -> Metadata:
        """The ops' integer arguments on `device`."""
        if device not in self._metadata:
            self._metadata[device] = self._host.to(device)
        return self._metadata[device]

    def rotation(self, rotary: Rotary, device: torch.device) -> torch.Tensor:
        """cos and sin of every offset of this forward for one rotary embedding, shared by the layers that use it."""
        key = (id(rotary), device)
        if key not in self._rotations:
            meta = self.metadata(device)
            self._rotations[key] = torch.ops.hogwild.rotation_table(
                meta.query_pos, meta.rotary_pos, rotary.inv_freq.to(device)
            )
        return self._rotations[key]

    def commit(self, rows: Sequence[int] | None = None) -> None:
        """Make the written tokens part of their blocks.

        Args:
            rows: indices of the rows to keep; the others are rolled back. Default: all.

        Raises:
            BlockError: a block was changed since the plan was made; nothing is committed.
        """
        keep = range(len(self.views)) if rows is None else set(rows)
        if self._open:
            for row in keep:
                self._reservations[row].check()
        self._close()
        for row, reservation in enumerate(self._reservations):
            if row in keep:
                reservation.commit(self._ids[row])
            else:
                reservation.rollback()

    def rollback(self) -> None:
        """Leave every block as it was before the plan; harmless after `commit`."""
        if self._open:
            self._close()
            for reservation in self._reservations:
                reservation.rollback()

    def _close(self) -> None:
        if not self._open:
            raise RuntimeError("plan: it was committed or rolled back before")
        self._open = False

    def _check(self, counts: list[int], width: int | None) -> None:
        if not counts:
            raise BlockError("rows: a forward needs at least one row, got none")
        written: dict[Block, int] = {}
        for row, (view, count) in enumerate(zip(self.views, counts, strict=True)):
            if not isinstance(view, View):
                raise TypeError(f"rows[{row}]: expected a View, got {type(view).__name__}")
            if count < 1:
                raise BlockError(f"rows[{row}]: expected at least one token, got {count}")
            if width is not None and count > width:
                raise ValueError(f"rows[{row}]: {count} tokens do not fit the width {width}")
            if view.write_to.pool is not self.views[0].write_to.pool:
                raise BlockError(
                    f"rows[{row}]: {view.write_to!r} belongs to another pool than row 0 (two models?)"
                )
            if view.write_to in written:
                raise BlockError(
                    f"rows {written[view.write_to]} and {row} both write to {view.write_to!r} in one forward"
                )
            written[view.write_to] = row

    def _reserve(self, counts: list[int]) -> list[Reservation]:
        needed = sum(Reservation.pages_needed(v.write_to, n) for v, n in zip(self.views, counts, strict=True))
        pool = self.pool
        if pool.max_pages is not None and needed > pool.free_pages:
            raise PoolExhausted(needed, pool.free_pages, pool.page_size)
        done: list[Reservation] = []
        try:
            for view, count in zip(self.views, counts, strict=True):
                done.append(Reservation(view.write_to, count))
        except BaseException:
            for reservation in done:
                reservation.rollback()
            raise
        return done

    def _lay_out(self) -> None:
        """Fill in positions, groups and tables; see docs/architecture.md for what each of them means."""
        pages = {id(r.block): r.pages for r in self._reservations}
        lengths = {id(r.block): len(r.block) + r.count for r in self._reservations}
        widths = [n if self._width is None else self._width for n in self.counts]
        self.num_tokens = sum(widths)
        groups = _groups(self.views)
        columns = max(len(blocks) for _, blocks in groups)

        query_pos = torch.full((self.num_tokens, columns), -1, dtype=torch.int32)
        rotary_pos = torch.zeros(self.num_tokens, dtype=torch.int32)
        own_block = torch.full((self.num_tokens,), -1, dtype=torch.int32)
        slots = torch.full((self.num_tokens,), -1, dtype=torch.int64)
        group_tokens, group_blocks = [0], [0]
        tables: list[list[int]] = []
        lens: list[int] = []
        self.last_rows, self.view_lengths = [], []

        row, end = 0, 0
        for members, blocks in groups:
            column = {id(block): index for index, block in enumerate(blocks)}
            for view in members:
                count, end = self.counts[row], end + widths[row]
                own = slice(end - count, end)  # padding stands on the left
                starts, length = [], 0
                for block in view.blocks:
                    starts.append(length)
                    length += lengths.get(id(block), len(block))
                index = torch.arange(count, dtype=torch.int32)
                position = index + (length - count)
                offset = torch.tensor(starts, dtype=torch.int32)
                where = torch.tensor([column[id(block)] for block in view.blocks])
                query_pos[own.start : own.stop, where] = position[:, None] - offset
                rotary_pos[own] = index + len(view.write_to)
                own_block[own] = column[id(view.write_to)]
                slots[own] = self._reservations[row].slots
                self.last_rows.append(end - 1)
                self.view_lengths.append(length)
                row += 1
            group_tokens.append(end)
            group_blocks.append(group_blocks[-1] + len(blocks))
            tables.extend(pages.get(id(block), block.pages) for block in blocks)
            lens.extend(lengths.get(id(block), len(block)) for block in blocks)

        table = torch.zeros(len(tables), max(len(t) for t in tables), dtype=torch.int32)
        for line, entries in zip(table, tables, strict=True):
            line[: len(entries)] = torch.tensor(entries, dtype=torch.int32)
        self._host = Metadata(
            slots=slots,
            block_table=table,
            block_lens=torch.tensor(lens, dtype=torch.int32),
            group_tokens=torch.tensor(group_tokens, dtype=torch.int32),
            group_blocks=torch.tensor(group_blocks, dtype=torch.int32),
            query_pos=query_pos,
            rotary_pos=rotary_pos,
            own_block=own_block,
        )
        shape = (1, -1) if self._width is None else (len(self.views), self._width)
        self.position_ids = rotary_pos.to(torch.int64).view(shape)


def _groups(views: Sequence[View]) -> list[tuple[list[View], list[Block]]]:
    """Split rows into runs whose views share blocks; the distinct blocks of each run, in order of appearance."""
    groups: list[tuple[list[View], list[Block]]] = []
    for view in views:
        blocks = groups[-1][1] if groups else []
        if not any(block in blocks for block in view.blocks):
            groups.append(([], []))
            blocks = groups[-1][1]
        groups[-1][0].append(view)
        blocks.extend(block for block in view.blocks if block not in blocks)
    return groups
