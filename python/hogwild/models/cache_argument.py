"""Our caches as the `past_key_values` of a model call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hogwild.cache import Block, ForwardPlan, View

__all__ = ["CacheArgument", "plan_inputs", "token_counts"]


class CacheArgument:
    """Base of what an enabled model takes as `past_key_values`."""

    __slots__ = ()

    def views(self) -> Sequence[View]:
        """One view for each row of the batch."""
        raise NotImplementedError


def plan_inputs(
    cache: CacheArgument | Block,
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    vocabulary: int,
) -> ForwardPlan:
    """The plan of a batch as Hugging Face models are called: [rows, n], shorter rows padded on the left.

    Args:
        cache: what was passed as `past_key_values`; a plain block takes one row.
        input_ids, inputs_embeds, attention_mask: the model's arguments of these names.
        vocabulary: number of token ids that the model knows.

    Raises:
        TypeError, ValueError: inputs that do not fit, right padding, rows without tokens; each names its argument.
        BlockError, PoolExhausted: see `ForwardPlan`.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("input_ids: expected exactly one of input_ids and inputs_embeds")
    name, inputs = ("input_ids", input_ids) if input_ids is not None else ("inputs_embeds", inputs_embeds)
    views = (
        [View([cache])]
        if isinstance(cache, Block) and not isinstance(cache, CacheArgument)
        else cache.views()
    )
    counts = token_counts(name, inputs, attention_mask, len(views))
    assert inputs is not None
    if input_ids is None:
        rows: list[tuple[View, Sequence[int] | int]] = list(zip(views, counts, strict=True))
    else:
        lines = [line[len(line) - n :] for line, n in zip(input_ids.tolist(), counts, strict=True)]
        for row, line in enumerate(lines):
            if min(line) < 0 or max(line) >= vocabulary:
                bad = next(token for token in line if not 0 <= token < vocabulary)
                raise ValueError(
                    f"input_ids: row {row} has token {bad}; the model knows 0 to {vocabulary - 1}"
                )
        rows = list(zip(views, lines, strict=True))
    return ForwardPlan(rows, width=inputs.shape[1])


def token_counts(name: str, inputs: object, attention_mask: object, rows: int) -> list[int]:
    """Tokens in each row, padding not counted.

    Args:
        name: "input_ids" or "inputs_embeds", what `inputs` is.
        inputs: [rows, n] integers or [rows, n, hidden].
        attention_mask: [rows, n] of ones and zeros (or bool), or None.
        rows: how many rows are expected.

    Raises:
        TypeError, ValueError: they are something else; the message names the argument.
    """
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor [{rows} rows, tokens], got {type(inputs).__name__}")
    if name == "input_ids" and inputs.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: expected int64 or int32 token ids, got {inputs.dtype}")
    if name == "inputs_embeds" and not inputs.is_floating_point():
        raise TypeError(f"inputs_embeds: expected embeddings, which are floating-point, got {inputs.dtype}")
    if inputs.ndim != (2 if name == "input_ids" else 3):
        raise ValueError(f"{name}: expected [{rows} rows, tokens], got shape {tuple(inputs.shape)}")
    if inputs.shape[0] != rows:
        raise ValueError(f"{name}: expected one row for each of {rows} views, got {inputs.shape[0]} rows")
    if inputs.shape[1] == 0:
        raise ValueError(f"{name}: expected at least one token a row, got none")
    if attention_mask is None:
        return [inputs.shape[1]] * rows
    if not isinstance(attention_mask, torch.Tensor):
        raise TypeError(f"attention_mask: expected a tensor, got {type(attention_mask).__name__}")
    if attention_mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"attention_mask: expected the shape {tuple(inputs.shape[:2])} of the new tokens, "
            f"got {tuple(attention_mask.shape)}"
        )
    if not ((attention_mask == 0) | (attention_mask == 1)).all():
        raise ValueError("attention_mask: expected ones and zeros (1: a token, 0: padding)")
    mask = attention_mask.bool().cpu()
    if not mask[:, -1].all():
        row = int((~mask[:, -1]).nonzero()[0])
        what = "has no tokens" if not mask[row].any() else "ends in padding"
        raise ValueError(f"attention_mask: row {row} {what}; pad on the left (padding_side='left')")
    if (mask[:, :-1] & ~mask[:, 1:]).any():
        row = int((mask[:, :-1] & ~mask[:, 1:]).any(1).nonzero()[0])
        raise ValueError(f"attention_mask: row {row} has padding between tokens; pad on the left only")
    return mask.sum(1).tolist()
