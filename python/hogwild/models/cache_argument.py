"""Our caches as the `past_key_values` of a model call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hogwild.cache import ForwardPlan, View

__all__ = ["CacheArgument", "plan_inputs", "token_counts"]


class CacheArgument:
    """Base of what an enabled model takes as `past_key_values`."""

    __slots__ = ()

    def views(self) -> Sequence[View]:
        """One view for each row of the batch."""
        raise NotImplementedError


def plan_inputs(
    cache: CacheArgument,
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
) -> ForwardPlan:
    """The plan of a batch as Hugging Face models are called: [rows, n], shorter rows padded on the left.

    Raises:
        ValueError: shapes that do not fit, right padding, or rows without tokens; each names its argument.
        BlockError, PoolExhausted: see `ForwardPlan`.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("input_ids: expected exactly one of input_ids and inputs_embeds")
    name, inputs = ("input_ids", input_ids) if input_ids is not None else ("inputs_embeds", inputs_embeds)
    assert inputs is not None
    views = cache.views()
    counts = token_counts(name, inputs, attention_mask, len(views))
    if input_ids is None:
        rows: list[tuple[View, Sequence[int] | int]] = list(zip(views, counts, strict=True))
    else:
        ids = input_ids.tolist()
        rows = [(view, line[len(line) - n :]) for view, line, n in zip(views, ids, counts, strict=True)]
    return ForwardPlan(rows, width=inputs.shape[1])


def token_counts(
    name: str, inputs: torch.Tensor, attention_mask: torch.Tensor | None, rows: int
) -> list[int]:
    """Tokens in each row, padding not counted."""
    if inputs.ndim != (2 if name == "input_ids" else 3):
        raise ValueError(f"{name}: expected [{rows} rows, tokens], got shape {tuple(inputs.shape)}")
    if inputs.shape[0] != rows:
        raise ValueError(f"{name}: expected one row for each of {rows} views, got {inputs.shape[0]} rows")
    if inputs.shape[1] == 0:
        raise ValueError(f"{name}: expected at least one token a row, got none")
    if attention_mask is None:
        return [inputs.shape[1]] * rows
    if attention_mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"attention_mask: expected the shape {tuple(inputs.shape[:2])} of the new tokens, "
            f"got {tuple(attention_mask.shape)}"
        )
    mask = attention_mask.bool().cpu()
    if not mask[:, -1].all():
        row = int((~mask[:, -1]).nonzero()[0])
        what = "has no tokens" if not mask[row].any() else "ends in padding"
        raise ValueError(f"attention_mask: row {row} {what}; pad on the left (padding_side='left')")
    if (mask[:, :-1] & ~mask[:, 1:]).any():
        row = int((mask[:, :-1] & ~mask[:, 1:]).any(1).nonzero()[0])
        raise ValueError(f"attention_mask: row {row} has padding between tokens; pad on the left only")
    return mask.sum(1).tolist()
