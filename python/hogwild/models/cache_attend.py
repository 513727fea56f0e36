"""What attention does in a shared-cache forward: store the new keys and values, then attend over the views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from hogwild.cache import Metadata, Pool, Rotary
from hogwild.errors import BlockError, UnsupportedModelError
from hogwild.models.attention import AttentionCall
from hogwild.models.long_rows import LongRow, attend_long_row, serves, without

__all__ = ["CacheAttend", "Inputs"]


class Inputs(Protocol):
    """Where the ops find the integers of a forward."""

    @property
    def num_tokens(self) -> int:
        """T, padding included."""

    def metadata(self, device: torch.device) -> Metadata:
        """The ops' integer arguments on `device`."""

    def rotation(self, rotary: Rotary, device: torch.device) -> torch.Tensor:
        """cos and sin of every offset of the forward for one rotary embedding."""


class CacheAttend:
    """The `Attend` of one forward.

    Args:
        pool: where the pages of the layers are.
        inputs: the forward's integers.
        rotary: of each layer.
        long_rows: rows that flash attention serves where it can, as it does on CUDA in half precision.

    Attributes:
        layers: indices of the layers that were called.
    """

    def __init__(
        self,
        pool: Pool,
        inputs: Inputs,
        rotary: Sequence[Rotary | None],
        long_rows: Sequence[LongRow] = (),
    ) -> None:
        self.pool, self.inputs, self.rotary = pool, inputs, rotary
        self.layers: set[int] = set()
        self._long_rows = long_rows
        self._others: dict[torch.device, torch.Tensor] = {}  # query_pos of the other rows

    def __call__(self, call: AttentionCall) -> torch.Tensor:
        inputs, device = self.inputs, call.q.device
        if call.layer in self.layers:
            raise UnsupportedModelError(f"attention layer {call.layer} was called twice in one forward")
        if call.q.shape[0] != inputs.num_tokens:
            raise BlockError(
                f"layer {call.layer} got {call.q.shape[0]} tokens, the forward has {inputs.num_tokens}"
            )
        with self.pool.staying:
            out = self._append_and_attend(call, device)
        self.layers.add(call.layer)
        return out

    def _append_and_attend(self, call: AttentionCall, device: torch.device) -> torch.Tensor:
        inputs = self.inputs
        rotary = self.rotary[call.layer]
        pages = self.pool.layer(call.layer, call.k, call.v, rotary)
        meta = inputs.metadata(device)
        rotation = None if rotary is None else inputs.rotation(rotary, device)
        torch.ops.hogwild.append(call.k, call.v, pages.k, pages.v, meta.slots)
        long_rows = self._long_rows if self._long_rows and serves(call) else ()
        out, _ = torch.ops.hogwild.attention(
            call.q,
            pages.k,
            pages.v,
            meta.block_table,
            meta.block_lens,
            meta.group_tokens,
            meta.group_blocks,
            self._without(long_rows, meta.query_pos) if long_rows else meta.query_pos,
            meta.rotary_pos,
            meta.own_block,
            rotation,
            scale=call.scale,
            window=call.window,
            softcap=call.softcap,
            sinks=call.sinks,
            interleaved=rotary is not None and rotary.interleaved,
            rotary_start=0 if rotary is None else rotary.start,
        )
        for row in long_rows:
            attended = attend_long_row(row, call, pages, meta.block_table, rotary, rotation)
            out[row.begin : row.end] = attended
        return out

    def _without(self, rows: Sequence[LongRow], query_pos: torch.Tensor) -> torch.Tensor:
        device = query_pos.device
        if device not in self._others:
            self._others[device] = without(rows, query_pos)
        return self._others[device]
