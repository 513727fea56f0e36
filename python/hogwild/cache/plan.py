"""What one forward reads and writes: the views of its rows turned into the integers that the ops take."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch

from hogwild.cache.ahead import Ahead
from hogwild.cache.block import Block
from hogwild.cache.inputs import ForwardInputs, Metadata
from hogwild.cache.integers import lay_out
from hogwild.cache.pool import Pool
from hogwild.cache.reservation import Reservation
from hogwild.cache.rotary import Rotary
from hogwild.cache.view import View
from hogwild.errors import BlockError, PoolExhausted

__all__ = ["ForwardPlan"]


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
        ahead: what an earlier plan's `ahead` gave; used where it fits, to be quicker.
        beside: a plan that is carried out just before this one, whose new tokens these rows see.

    Attributes:
        num_tokens: T, padding included.
        integers: what the ops are told, on the host.
        last_rows: packed index of each row's last token.
        view_lengths: tokens in each row's view once this forward is committed.

    Raises:
        BlockError: no rows, a row without tokens, two pools, or two rows that write to one block.
        TypeError: tokens that are neither ids nor a number, or rows or a width that are none.
        ValueError: negative ids.
        PoolExhausted: not enough free pages for all rows together.
    """

    def __init__(
        self,
        rows: Sequence[tuple[View, Sequence[int] | int]],
        width: int | None = None,
        ahead: Ahead | None = None,
        beside: ForwardPlan | None = None,
    ) -> None:
        if not isinstance(rows, Iterable):
            raise TypeError(f"rows: expected pairs of a view and its token ids, got {rows!r}")
        self.views: list[View] = []
        self._ids: list[tuple[int, ...] | None] = []
        counts: list[int] = []
        for row, pair in enumerate(rows):
            try:
                view, tokens = pair
            except (TypeError, ValueError):
                raise TypeError(f"rows[{row}]: expected a view and its token ids, got {pair!r}") from None
            ids = _token_ids(row, tokens)
            self.views.append(view)
            self._ids.append(ids)
            counts.append(tokens if ids is None else len(ids))  # type: ignore[arg-type]
        expected = ahead is not None and width is None and ahead.expects(self.views, counts)
        if not expected:
            self._check(counts, width)
        self.pool: Pool = self.views[0].blocks[0].pool
        self.counts, self._width = counts, width
        self._inputs: dict[torch.device, ForwardInputs] = {}
        self._reservations = self._reserve(
            counts, ahead.reservations if ahead is not None and expected else ()
        )
        self._open = True
        try:
            size = self.pool.page_size
            known = ahead.take(self._reservations) if ahead is not None and expected else None
            widths = counts if width is None else [width] * len(counts)
            growing = [*self._reservations, *(() if beside is None else beside._reservations)]
            self.integers = known or lay_out(self.views, widths, growing, size)
            self._growth = ahead.growth if ahead is not None and known is not None else None
        except BaseException:
            self.rollback()
            raise
        self.num_tokens = len(self.integers.slots)
        self.last_rows, self.view_lengths = self.integers.last_rows, self.integers.view_lengths

    @property
    def is_open(self) -> bool:
        """Whether it has been neither committed nor rolled back."""
        return self._open

    @property
    def token_ids(self) -> list[int]:
        """Token ids in packed order; all rows must have been given by their ids."""
        if self._width is not None or None in self._ids:
            raise ValueError(
                "rows: token ids exist for packed plans whose rows were given by their token ids"
            )
        return [token for ids in self._ids for token in ids or ()]

    @property
    def input_ids(self) -> torch.Tensor:
        """`token_ids` as a model takes them: [1, T] int64 on the CPU."""
        return torch.tensor([self.token_ids])

    @property
    def position_ids(self) -> torch.Tensor:
        """[1, T] or [rows, width] int64 on the CPU: each token's index in the block written to."""
        shape = (1, -1) if self._width is None else (len(self.views), self._width)
        return torch.from_numpy(self.integers.rotary_pos).to(torch.int64).view(shape)

    def metadata(self, device: torch.device) -> Metadata:
        """The ops' integer arguments on `device`."""
        return self._on(device).metadata

    def rotation(self, rotary: Rotary, device: torch.device) -> torch.Tensor:
        """cos and sin of every offset of this forward for one rotary embedding, shared by the layers that use it."""
        return self._on(device).rotation(rotary)

    def ahead(self) -> Ahead | None:
        """What the next forward may be told if every row writes one token more; None where that is unlikely."""
        if self._width is not None or max(self.counts) > 1:
            return None
        return Ahead(self.views, self.integers, self._reservations, self._growth)

    def commit(self, rows: Sequence[int] | None = None) -> None:
        """Make the written tokens part of their blocks.

        Args:
            rows: indices of the rows to keep; the others are rolled back. Default: all.

        Raises:
            BlockError: a block was changed since the plan was made; nothing is committed.
            ValueError: an index that is no row's; nothing is committed.
        """
        if rows is not None and not all(0 <= row < len(self.views) for row in rows):
            raise ValueError(f"rows: expected indices from 0 to {len(self.views) - 1}, got {list(rows)}")
        keep = range(len(self.views)) if rows is None else set(rows)
        self.check(keep)
        self._close()
        for row, (reservation, ids) in enumerate(zip(self._reservations, self._ids, strict=True)):
            if row in keep:
                reservation.commit_checked(ids)
            else:
                reservation.rollback()

    def check(self, rows: Iterable[int]) -> None:
        """Refuse to commit rows whose block was changed since the plan was made: BlockError."""
        if self._open:
            for row in rows:
                self._reservations[row].check()

    def rollback(self) -> None:
        """Leave every block as it was before the plan; harmless after `commit`."""
        if self._open:
            self._close()
            for reservation in self._reservations:
                reservation.rollback()

    def _on(self, device: torch.device) -> ForwardInputs:
        if device not in self._inputs:
            inputs = self._inputs[device] = ForwardInputs(self.integers.sizes, device)
            inputs.load(self.integers)
            inputs.upload()
        return self._inputs[device]

    def _close(self) -> None:
        if not self._open:
            raise RuntimeError("plan: it was committed or rolled back before")
        self._open = False

    def _check(self, counts: list[int], width: int | None) -> None:
        if width is not None and (isinstance(width, bool) or not isinstance(width, int)):
            raise TypeError(f"width: expected an integer or None, got {width!r}")
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

    def _pages_needed(self, counts: list[int]) -> int:
        return sum(map(Reservation.pages_needed, [view.write_to for view in self.views], counts))

    def _reserve(self, counts: list[int], prepared: Sequence[Reservation | None]) -> list[Reservation]:
        pool = self.pool
        done: list[Reservation] = []
        if pool.max_pages is not None:
            most = 2 * len(counts) + sum(counts) // pool.page_size
            if most > pool.free_pages:
                needed = self._pages_needed(counts)
                if not pool.has_room(needed):
                    needed = self._pages_needed(counts)  # what was asked back is shared no more
                    if needed > pool.free_pages:
                        raise PoolExhausted(needed, pool.free_pages, pool.page_size)
        try:
            for view, count, known in zip(self.views, counts, prepared or [None] * len(counts), strict=True):
                if known is None or not known.holds():
                    known = Reservation(view.write_to, count)
                done.append(known)
        except BaseException:
            for reservation in done:
                reservation.rollback()
            raise
        return done


def _token_ids(row: int, tokens: object) -> tuple[int, ...] | None:
    """The ids of a row's tokens; None where their number alone is given."""
    if isinstance(tokens, int) and not isinstance(tokens, bool):
        return None
    if isinstance(tokens, Sequence) and not isinstance(tokens, (str, bytes)):
        listed: object = tokens
    else:  # a tensor or an array
        listed = tokens.tolist() if hasattr(tokens, "tolist") else None
    try:
        ids = tuple(map(operator.index, listed))  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"rows[{row}]: expected token ids or their number, got {tokens!r}") from None
    if ids and min(ids) < 0:
        raise ValueError(f"rows[{row}]: expected token ids of 0 or more, got {min(ids)}")
    return ids
