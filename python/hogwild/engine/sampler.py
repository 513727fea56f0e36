"""From logits to a token, for one worker: Hugging Face's processors and the worker's own random numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hogwild.engine.sampling import SamplingParams
from hogwild.errors import HogwildError

Sample = tuple[int, float | None]  # a token id, and the log of its probability where that was asked for


class NoTokenLeftError(HogwildError, ValueError):
    """The sampling settings leave a worker no token with a finite logit."""


def make_processors(params: SamplingParams) -> LogitsProcessorList:
    """Hugging Face's logits processors for `params`, in the order in which `generate` applies them."""
    processors = LogitsProcessorList()
    if params.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(float(params.repetition_penalty)))
    if params.forbidden_tokens:
        processors.append(SuppressTokensLogitsProcessor(params.forbidden_tokens))
    if not params.greedy:
        if params.temperature != 1:
            processors.append(TemperatureLogitsWarper(float(params.temperature)))
        if params.top_k:
            processors.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1:
            processors.append(TopPLogitsWarper(float(params.top_p)))
        if params.min_p > 0:
            processors.append(MinPLogitsWarper(float(params.min_p)))
    return processors


class Sampler:
    """Draws one worker's tokens.

    Args:
        params: the worker's settings.
        index: the worker's index in its session; workers of one seed draw different numbers.
    """

    def __init__(self, params: SamplingParams, index: int = 0) -> None:
        self.params = params
        processors = make_processors(params)
        # Beyond top-k only its few survivors matter: sorting a vocabulary for top-p costs milliseconds.
        cut = next(
            (i for i, p in enumerate(processors, 1) if isinstance(p, TopKLogitsWarper)), len(processors)
        )
        self._wide, self._narrow = (
            LogitsProcessorList(processors[:cut]),
            LogitsProcessorList(processors[cut:]),
        )
        self._compact = bool(params.top_k) and not params.greedy
        # One draw per token, made on the CPU whatever the device: the same draws everywhere.
        self._generator = torch.Generator().manual_seed(_mix(params.seed, index))
        self._uniform: float | None = None
        self._draws = 0
        self._ids: list[int] = []  # the worker's text, where a setting looks at it
        self._text: _GrowingIds | None = None  # made where the first logits are, if it is looked at

    @property
    def is_plain_argmax(self) -> bool:
        """Whether the token is simply the likeliest one, so that one operation finds many workers'."""
        return self.params.greedy and not self._wide and not self.params.logprobs

    def sample(self, logits: torch.Tensor, fed: Sequence[int] = ()) -> Sample:
        """Pick the token that follows `fed`. Pure: until `accept`, the same arguments give the same token.

        Args:
            logits: [vocab], of the last of `fed`.
            fed: tokens that this forward adds to the worker's text.

        Returns:
            The token id, and the natural log of its probability under the processed distribution (None unless
            `params.logprobs`).

        Raises:
            NoTokenLeftError: the settings leave no token, as where all of the vocabulary is forbidden.
        """
        if self._text is None and self.params.repetition_penalty != 1:
            self._text = _GrowingIds(logits.device)
            self._text.extend(self._ids)
        ids = _NO_IDS if self._text is None else self._text.followed_by(fed)
        scores = self._wide(ids, logits[None].float())
        survivors = None
        if self._compact:
            survivors = (scores[0] > -math.inf).nonzero()[:, 0]
            if not len(survivors):
                raise self._no_token_left()
            scores = scores[:, survivors]
        scores = self._narrow(ids, scores)[0]
        choice = self._likeliest(scores) if self.params.greedy else self._draw(scores)
        logprob = float(scores[choice] - scores.logsumexp(0)) if self.params.logprobs else None
        return (choice if survivors is None else int(survivors[choice])), logprob

    def accept(self, fed: Sequence[int]) -> None:
        """Go on to the next token; `fed` is what `sample` was given."""
        if self._uniform is not None:
            self._draws += 1
        self._uniform = None
        if self.params.repetition_penalty != 1:
            self._ids.extend(fed)
        if self._text is not None:
            self._text.extend(fed)

    def state(self) -> dict[str, Any]:
        """Where the draws and the text stand, as JSON values; `load_state` of another sampler goes on there."""
        return {"draws": self._draws, "text": list(self._ids)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; for a sampler that has not sampled yet."""
        for _ in range(state["draws"]):
            torch.rand((), generator=self._generator, dtype=torch.float64)
        self._draws = state["draws"]
        self._ids = list(state["text"])

    def _likeliest(self, scores: torch.Tensor) -> int:
        logit, index = torch.stack([values.double() for values in scores.max(-1)]).tolist()
        if not math.isfinite(logit):
            raise self._no_token_left()
        return int(index)

    def _draw(self, scores: torch.Tensor) -> int:
        # Inverse of the cumulative distribution in fp64: one random number a token, and the cost of one pass,
        # where torch.multinomial draws a number for every entry of the vocabulary.
        if self._uniform is None:
            self._uniform = torch.rand((), generator=self._generator, dtype=torch.float64).item()
        cumulative = scores.softmax(-1).double().cumsum(-1)
        total = cumulative[-1:]
        place = torch.searchsorted(cumulative, total * self._uniform, right=True)
        index, mass = torch.cat((place.double(), total)).tolist()
        if not math.isfinite(mass):  # the softmax of nothing but -inf, or of an infinite or undefined logit
            raise self._no_token_left()
        return min(int(index), scores.numel() - 1)

    def _no_token_left(self) -> NoTokenLeftError:
        return NoTokenLeftError(
            "the sampling settings leave no token with a finite logit: "
            f"{len(self.params.forbidden_tokens)} forbidden_tokens, temperature {self.params.temperature}, "
            f"repetition_penalty {self.params.repetition_penalty}"
        )


_NO_IDS = torch.zeros(1, 0, dtype=torch.int64)


class _GrowingIds:
    """Token ids [1, n] in a buffer that doubles, so that adding one costs no copy of the others."""

    def __init__(self, device: torch.device) -> None:
        self._buffer = torch.zeros(1, 256, dtype=torch.int64, device=device)
        self._length = 0

    def followed_by(self, tokens: Sequence[int]) -> torch.Tensor:
        """The ids and `tokens`, which are not kept."""
        end = self._length + len(tokens)
        while end > self._buffer.shape[1]:
            self._buffer = torch.cat((self._buffer, torch.zeros_like(self._buffer)), dim=1)
        new = torch.tensor(tokens, dtype=torch.int64, device=self._buffer.device)
        self._buffer[0, self._length : end] = new
        return self._buffer[:, :end]

    def extend(self, tokens: Sequence[int]) -> None:
        self._length = self.followed_by(tokens).shape[1]


def _mix(seed: int, index: int) -> int:
    """A generator seed from which seed 0, worker 1 and seed 1, worker 0 do not coincide."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
