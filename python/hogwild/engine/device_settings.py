"""Sampling settings of the rows of a forward as tensors, sorted by how their tokens are picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hogwild.cache import to_device
from hogwild.engine.sampler import Kind
from hogwild.engine.sampling import SamplingParams

__all__ = ["DeviceSettings", "Group"]

WIDEST = 1024  # a larger top_k is picked from the whole vocabulary
SPARE = 32  # candidates beyond top_k, for tokens that tie with its last one


@dataclass(frozen=True)
class Group:
    """Rows whose tokens are picked in the same way.

    Attributes:
        rows: their indices in the forward; [n] int64 `index` on the device, None where they are all rows.
        greedy: whether the likeliest token is taken.
        width: candidates that top-k looks at; 0: the whole vocabulary.
        logprobs: whether any of them wants log-probabilities.
        temperature, top_k, top_p, min_p, penalty: [n, 1] each; None where no row needs it.
        largest_k: largest of `top_k`.
        forbidden: (index within the group, token id) of forbidden tokens, [m] int64 each; None for none.
    """

    rows: tuple[int, ...]
    index: torch.Tensor | None
    greedy: bool
    width: int
    logprobs: bool
    temperature: torch.Tensor | None
    top_k: torch.Tensor | None
    top_p: torch.Tensor | None
    min_p: torch.Tensor | None
    penalty: torch.Tensor | None
    largest_k: int
    forbidden: tuple[torch.Tensor, torch.Tensor] | None


class DeviceSettings:
    """The settings of one combination of rows; made once and used for every forward of the same combination.

    Args:
        kinds: of each row; None for one that does not sample.
        vocab: number of logits.
        device: where the logits are.
        narrow: whether top-k may look at a few candidates only.

    Attributes:
        groups: all rows but those that sample nothing or take the largest logit as it is.
        penalized: whether any row has a repetition penalty.
    """

    def __init__(
        self, kinds: Sequence[Kind | None], vocab: int, device: torch.device, narrow: bool = True
    ) -> None:
        self._vocab, self._device, self._count = vocab, device, len(kinds)
        members: dict[tuple[bool, int], list[int]] = {}
        for row, kind in enumerate(kinds):
            if kind is not None and not _is_plain(kind.params):
                greedy, width = _way(kind.params, vocab)
                members.setdefault((greedy, width if narrow else 0), []).append(row)
        self.groups = [
            self._group(way, rows, [kind.params for row in rows if (kind := kinds[row]) is not None])
            for way, rows in members.items()
        ]
        self.penalized = any(group.penalty is not None for group in self.groups)

    def _group(self, way: tuple[bool, int], rows: list[int], params: list[SamplingParams]) -> Group:
        greedy, width = way
        tops = [min(p.top_k or self._vocab, self._vocab) for p in params]
        forbidden = [
            (line, token)
            for line, p in enumerate(params)
            for token in p.forbidden_tokens
            if token < self._vocab
        ]

        def column(
            values: Sequence[float], nothing: float, dtype: torch.dtype = torch.float32
        ) -> torch.Tensor | None:
            if greedy or all(value == nothing for value in values):
                return None
            return to_device(torch.tensor(values, dtype=dtype)[:, None], self._device)

        penalties = [p.repetition_penalty for p in params]
        return Group(
            rows=tuple(rows),
            index=None if len(rows) == self._count else to_device(torch.tensor(rows), self._device),
            greedy=greedy,
            width=width,
            logprobs=any(p.logprobs for p in params),
            temperature=column([p.temperature for p in params], 1.0),
            top_k=column(tops, self._vocab, torch.int64),
            top_p=column([p.top_p for p in params], 1.0),
            min_p=column([p.min_p for p in params], 0.0),
            penalty=None
            if all(penalty == 1 for penalty in penalties)
            else to_device(torch.tensor(penalties, dtype=torch.float32)[:, None], self._device),
            largest_k=max(tops),
            forbidden=None
            if not forbidden
            else (
                to_device(torch.tensor([line for line, _ in forbidden]), self._device),
                to_device(torch.tensor([token for _, token in forbidden]), self._device),
            ),
        )


def _is_plain(params: SamplingParams) -> bool:
    """Whether the token is simply the likeliest one, so that one operation finds many workers'."""
    return (
        params.greedy
        and params.repetition_penalty == 1
        and not params.forbidden_tokens
        and not params.logprobs
    )


def _way(params: SamplingParams, vocab: int) -> tuple[bool, int]:
    """(greedy, width): rows of one way are picked together. Widths are powers of two: few shapes."""
    if params.greedy:
        return True, 0
    if not 0 < params.top_k < vocab or params.top_k > WIDEST:
        return False, 0
    return False, min(vocab, 1 << (params.top_k + SPARE - 1).bit_length())
