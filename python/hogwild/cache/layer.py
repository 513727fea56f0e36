"""The pages of one attention layer."""

from __future__ import annotations

import torch

from hogwild.cache.rotary import Rotary
from hogwild.errors import BlockError

__all__ = ["LayerCache"]


class LayerCache:
    """Keys and values of one layer: ``[pages, kv_heads, page_size, head_dim]`` each.

    Created from the first keys and values the layer sees, so that head counts are those of this process
    (tensor parallelism may split them) and device and dtype are the model's own.

    Args:
        index: the layer's index in the model, for messages.
        k, v: [tokens, kv_heads, head_dim] of any number of tokens: only their shape, dtype and device count.
        pages, page_size: size of the pool.
        rotary: how this layer's keys are rotated; None for layers without rotary embedding.
    """

    __slots__ = ("index", "k", "rotary", "v")

    def __init__(
        self, index: int, k: torch.Tensor, v: torch.Tensor, pages: int, page_size: int, rotary: Rotary | None
    ) -> None:
        self.index, self.rotary = index, rotary
        self.k = _empty(k, pages, k.shape[1], page_size, k.shape[2])
        self.v = _empty(v, pages, v.shape[1], page_size, v.shape[2])

    def check(self, k: torch.Tensor, v: torch.Tensor, rotary: Rotary | None) -> None:
        """Raise BlockError unless keys and values of this shape, dtype, device and rotation belong in these pages."""
        for name, new, pages in (("key", k, self.k), ("value", v, self.v)):
            got = (new.shape[1], new.shape[2], new.dtype, new.device)
            want = (pages.shape[1], pages.shape[3], pages.dtype, pages.device)
            if got != want:
                raise BlockError(
                    f"{name} of layer {self.index}: expected (heads, head_dim, dtype, device) = {want} as this "
                    f"pool holds, got {got}; blocks of one model cannot be used with another"
                )

        if rotary is not self.rotary:
            if rotary is None or not rotary.same_as(self.rotary):
                raise BlockError(
                    f"layer {self.index}: this pool holds keys with another rotary embedding; clear its blocks "
                    "before the model is enabled with other frequencies, or use another pool"
                )
            self.rotary = rotary  # the same facts found again: from now on the comparison above is free

    def grown(self, pages: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of (k, v) with room for `pages` pages; the layer itself is left as it is."""
        k = _empty(self.k, pages, *self.k.shape[1:])
        v = _empty(self.v, pages, *self.v.shape[1:])
        k[: self.k.shape[0]] = self.k
        v[: self.v.shape[0]] = self.v
        return k, v

    def move(self, src_slots: torch.Tensor, dst_slots: torch.Tensor, shifts: torch.Tensor) -> None:
        """Copy entries between slots, their keys rotated by so many positions further.

        Args:
            src_slots, dst_slots: [N] int64, on the layer's device.
            shifts: [N] int32, likewise.
        """
        rotary = self.rotary
        torch.ops.hogwild.move(
            self.k,
            self.v,
            src_slots,
            dst_slots,
            shifts,
            None if rotary is None else rotary.inv_freq.to(self.k.device),
            interleaved=False if rotary is None else rotary.interleaved,
            rotary_start=0 if rotary is None else rotary.start,
        )


def _empty(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Uninitialised memory that may be written to in and outside of inference mode alike."""
    with torch.inference_mode(False):
        return torch.empty(shape, dtype=like.dtype, device=like.device)
