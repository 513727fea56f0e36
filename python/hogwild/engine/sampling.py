"""How a worker picks its tokens: settings only, which need no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hogwild.engine.checks import check_flag, check_integer, token_ids

_LARGEST = 1e30  # of a setting: logits times it stay numbers in fp32
_SMALLEST_PENALTY = 1e-5
MIN_TEMPERATURE = 1e-5  # below, logits divided by it leave the range of fp32


@dataclass(frozen=True)
class SamplingParams:
    """Sampling settings of one worker, with the meaning they have in Hugging Face's `generate`.

    Attributes:
        temperature: 0 means greedy: the likeliest token, whatever `top_k`, `top_p` and `min_p` say; else at
            least 1e-5.
        top_p: keep the smallest set of tokens whose probabilities add up to at least this; 1 keeps all.
        top_k: keep this many of the likeliest tokens; 0 keeps all. Over a large vocabulary `top_p` is much
            cheaper together with a `top_k`.
        min_p: keep tokens at least this fraction as likely as the likeliest one; 0 keeps all.
        forbidden_tokens: token ids that are never sampled.
        repetition_penalty: divides (or, below zero, multiplies) the logits of tokens that stand in the
            worker's own text so far; 1 changes nothing.
        seed: the worker's draws are a function of this, of its index among the session's workers, and of its
            own tokens; not of who else is running.
        logprobs: report the log-probability of every sampled token.

    Raises:
        ValueError, TypeError: a setting is out of range or of the wrong type.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    forbidden_tokens: tuple[int, ...] = ()
    repetition_penalty: float = 1.0
    seed: int = 0
    logprobs: bool = False

    def __post_init__(self) -> None:
        forbidden = token_ids("forbidden_tokens", self.forbidden_tokens)
        object.__setattr__(self, "forbidden_tokens", forbidden)
        self._number(
            "temperature",
            lambda x: x == 0 or x >= MIN_TEMPERATURE,
            f"a finite number >= 0 (0: greedy; else at least {MIN_TEMPERATURE})",
        )
        self._number("top_p", lambda x: 0 < x <= 1, "a number in (0, 1] (1: all tokens)")
        self._number("min_p", lambda x: 0 <= x <= 1, "a number in [0, 1] (0: all tokens)")
        self._number(
            "repetition_penalty",
            lambda x: x >= _SMALLEST_PENALTY,
            f"a finite number >= {_SMALLEST_PENALTY} (1: none)",
        )
        check_integer("top_k", self.top_k, minimum=0)
        check_integer("seed", self.seed)
        check_flag("logprobs", self.logprobs)

    def check_vocabulary(self, size: int) -> None:
        """Refuse tokens that a model does not have: ids of its vocabulary are below `size`; ValueError."""
        for token in self.forbidden_tokens:
            if token >= size:
                raise ValueError(
                    f"forbidden_tokens: expected token ids below the vocabulary's size of {size}, got {token}"
                )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, without any draw."""
        return self.temperature == 0

    @classmethod
    def from_generation_config(cls, config: Any, **overrides: Any) -> SamplingParams:
        """The settings that a model was published with (its `generation_config`), some of them replaced.

        Args:
            config: a Hugging Face `GenerationConfig`, or None for none.
            overrides: fields of this class; None leaves the model's own setting. A model published with
                `do_sample` off is greedy unless `temperature` is given, or one of `top_p`, `top_k` and `min_p`,
                which say nothing of greedy choices: then the temperature is 1.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        if given.keys() & {"top_p", "top_k", "min_p"} and not getattr(config, "do_sample", False):
            given.setdefault("temperature", 1.0)
        if config is None:
            return cls(**given)
        published = {
            name: value
            for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
            if (value := getattr(config, name, None)) is not None
        }
        if suppressed := getattr(config, "suppress_tokens", None):
            published["forbidden_tokens"] = tuple(suppressed)
        if not getattr(config, "do_sample", False):
            kept = ("repetition_penalty", "forbidden_tokens")
            published = {name: value for name, value in published.items() if name in kept}
        else:  # generate's own defaults
            published = {"temperature": 1.0, "top_k": 50} | published
        return cls(**{**published, **given})

    def replace(self, **changes: Any) -> SamplingParams:
        """These settings with some changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {**dataclasses.asdict(self), "forbidden_tokens": list(self.forbidden_tokens)}

    def _number(self, name: str, allowed: Any, expected: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name}: expected {expected}, got {value!r}")
        if not -_LARGEST <= value <= _LARGEST or not allowed(value):  # false for NaN; integers may be larger
            raise ValueError(f"{name}: expected {expected}, got {value!r}")
