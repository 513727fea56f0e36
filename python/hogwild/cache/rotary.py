"""How one layer's keys are rotated: what a block needs to know to move them to another position."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Rotary"]


@dataclass(frozen=True, eq=False)
class Rotary:
    """Rotary embedding of one attention layer (or of all layers that share it).

    Compared by identity: layers that share a `Rotary` share the forward's rotation table.

    Attributes:
        inv_freq: [R/2] float32, angle per position of each rotated pair.
        interleaved: pairs are dims (2i, 2i+1) instead of (i, i + R/2).
        start: first rotated dim of the head; dims outside ``start .. start + R`` are left alone.
    """

    inv_freq: torch.Tensor
    interleaved: bool = False
    start: int = 0

    def __post_init__(self) -> None:
        if self.inv_freq.ndim != 1 or self.inv_freq.dtype != torch.float32:
            raise ValueError(
                f"inv_freq: expected a float32 vector, got {self.inv_freq.dtype} of shape {tuple(self.inv_freq.shape)}"
            )

    def same_as(self, other: Rotary | None) -> bool:
        """Whether both rotate alike, whatever object and device they are on."""
        return (
            other is not None
            and (self.interleaved, self.start) == (other.interleaved, other.start)
            and torch.equal(self.inv_freq.cpu(), other.inv_freq.cpu())
        )
