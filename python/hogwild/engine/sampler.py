"""What one worker brings to the sampling of its tokens: settings, random numbers, and its text so far."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hogwild.engine.interrupts import defer_interrupts
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import HogwildError

__all__ = ["Kind", "NoTokenLeftError", "Sampler"]


_AHEAD = 64  # random numbers that are drawn at a time


class NoTokenLeftError(HogwildError, ValueError):
    """The sampling settings leave a worker no token with a finite logit."""

    def __init__(self, params: SamplingParams) -> None:
        super().__init__(
            "the sampling settings leave no token with a finite logit: "
            f"{len(params.forbidden_tokens)} forbidden_tokens, temperature {params.temperature}, "
            f"repetition_penalty {params.repetition_penalty}"
        )


class Kind:
    """Settings without the seed; one object for all workers that have the same, compared by identity."""

    __slots__ = ("__weakref__", "params")

    def __init__(self, params: SamplingParams) -> None:
        self.params = params


_KINDS: weakref.WeakValueDictionary[SamplingParams, Kind] = weakref.WeakValueDictionary()


class Sampler:
    """Where one worker stands in drawing its tokens; `BatchSampler` picks them.

    Args:
        params: the worker's settings.
        index: the worker's index in its session; workers of one seed draw different numbers.

    Attributes:
        kind: its settings without the seed.
        unseen: tokens of its text that the device has not been told of; only with a repetition penalty.
    """

    def __init__(self, params: SamplingParams, index: int = 0) -> None:
        self.params = params
        self.kind = _kind(params)
        self.unseen: list[int] = []
        # One draw per token, made on the CPU whatever the device: the same draws everywhere.
        self._generator = torch.Generator().manual_seed(_mix(params.seed, index))
        self._draws = 0
        self._text: dict[int, None] = {}  # the different tokens of its text; only with a repetition penalty
        self._uniforms: list[float] = []  # the next ones, last first: drawn some at a time, which is the same

    @property
    def uniform(self) -> float:
        """The random number in [0, 1) that picks the next token; the same until `accept`."""
        if not self._uniforms:
            with defer_interrupts():  # or numbers that are drawn would be lost
                numbers = torch.rand(_AHEAD, generator=self._generator, dtype=torch.float64)
                self._uniforms = numbers.flip(0).tolist()
        return self._uniforms[-1]

    def accept(self, fed: Sequence[int]) -> None:
        """Go on to the next token; `fed` is what the worker's text has grown by."""
        if self._uniforms:
            self._uniforms.pop()
            self._draws += 1
        if self.params.repetition_penalty != 1:
            self.unseen.extend(fed)
            self._text.update(dict.fromkeys(fed))

    def state(self) -> dict[str, Any]:
        """Where the draws and the text stand, as JSON values; `load_state` of another sampler goes on there."""
        return {"draws": self._draws, "text": list(self._text)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; for a sampler that has not sampled yet."""
        for _ in range(state["draws"]):
            _ = self.uniform  # drawn when it is read
            self.accept(())
        self.unseen = list(state["text"])
        self._text = dict.fromkeys(state["text"])


def _kind(params: SamplingParams) -> Kind:
    params = params.replace(seed=0)
    kind = _KINDS.get(params)
    if kind is None:
        kind = _KINDS[params] = Kind(params)
    return kind


def _mix(seed: int, index: int) -> int:
    """A generator seed from which seed 0, worker 1 and seed 1, worker 0 do not coincide."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
