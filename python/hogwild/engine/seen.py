"""Which tokens stand in the texts of workers that have a repetition penalty."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from hogwild.engine.sampler import Sampler

__all__ = ["SeenTokens"]


class SeenTokens:
    """A line of flags for each worker, on the device: [workers, vocab] bool, as long as its `Sampler` lives.

    Args:
        vocab: number of logits.
        device: where the logits are.
    """

    def __init__(self, vocab: int, device: torch.device) -> None:
        self._flags = torch.zeros(8, vocab, dtype=torch.bool, device=device)  # line 0 stays without a flag
        self._true = torch.ones((), dtype=torch.bool, device=device)
        self._lines: weakref.WeakKeyDictionary[Sampler, int] = weakref.WeakKeyDictionary()
        self._free = list(range(7, 0, -1))
        self._stale: list[int] = []  # lines of workers that are gone; finalizers may run at any moment

    def fits(self, vocab: int, device: torch.device) -> bool:
        """Whether it is for logits of this size and place."""
        return self._flags.shape[1] == vocab and self._flags.device == device

    def updates(
        self, samplers: Sequence[Sampler | None], fed: Sequence[Sequence[int]]
    ) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
        """What `flags` has to be told, as integers that go to the device together with others.

        Args:
            samplers: of the workers; None for one without a penalty.
            fed: tokens that this forward adds to their texts.

        Returns:
            Each worker's line; lines and tokens of what is new in their texts; rows and tokens of `fed`.
        """
        vocab = self._flags.shape[1]
        lines, old_lines, old_tokens, new_rows, new_tokens = [], [], [], [], []
        for row, (sampler, tokens) in enumerate(zip(samplers, fed, strict=True)):
            if sampler is None:
                lines.append(0)
                continue
            line = self._line(sampler)
            lines.append(line)
            old = [token for token in sampler.unseen if token < vocab]
            old_lines.extend([line] * len(old))
            old_tokens.extend(old)
            new = [token for token in tokens if token < vocab]
            new_rows.extend([row] * len(new))
            new_tokens.extend(new)
        return lines, old_lines, old_tokens, new_rows, new_tokens

    def flags(
        self,
        lines: torch.Tensor,
        old_lines: torch.Tensor,
        old_tokens: torch.Tensor,
        new_rows: torch.Tensor,
        new_tokens: torch.Tensor,
    ) -> torch.Tensor:
        """[rows, vocab] bool: the workers' lines, brought up to date; what is fed now is in the result only."""
        if old_lines.numel():
            self._flags.index_put_((old_lines, old_tokens), self._true)
        rows = self._flags[lines]
        if new_rows.numel():
            rows.index_put_((new_rows, new_tokens), self._true)
        return rows

    def _line(self, sampler: Sampler) -> int:
        line = self._lines.get(sampler)
        if line is not None:
            return line
        if self._stale:
            self._free.append(self._stale.pop())
            self._flags[self._free[-1]] = False
        if not self._free:
            count = self._flags.shape[0]
            self._flags = torch.cat((self._flags, torch.zeros_like(self._flags)))
            self._free.extend(range(2 * count - 1, count - 1, -1))
        line = self._lines[sampler] = self._free.pop()
        weakref.finalize(sampler, self._stale.append, line).atexit = False
        return line
