"""The engine that people use: the core, and a method for each protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hogwild.engine.checks import check_integer
from hogwild.engine.core import EngineCore
from hogwild.engine.sampling import SamplingParams
from hogwild.models import binding_of
from hogwild.prompting import family_for
from hogwild.protocols.async_reasoning import AsyncReasoningProtocol, Policy, ThinkSession, make_thinking
from hogwild.protocols.budgeted import BudgetedProtocol
from hogwild.protocols.collaboration import CollaborationProtocol
from hogwild.protocols.methods import Method, make
from hogwild.protocols.result import CollaborationResult

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "forbidden_tokens")


class Engine(EngineCore):
    """Runs workers on a model over one shared cache.

    See `EngineCore` for the arguments, and for `submit`, `stream`, `run`, `open` and `forward`, which take any
    protocol.
    """

    def collaboration(
        self,
        problem: str,
        workers: int | Sequence[str] = 2,
        layout: str = "combined",
        *,
        max_forwards: int = 256,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        forbidden_tokens: Sequence[int] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> CollaborationProtocol:
        """The protocol that `collaborate` runs, for `stream`, `run` and `submit`.

        Args:
            problem: what the workers are to solve.
            workers: how many, or their names.
            layout: "combined", "contiguous" or "interleaved" (paper, Appendix A).
            max_forwards: tokens that each worker samples at most.
            temperature, top_p, top_k, min_p, repetition_penalty, forbidden_tokens: see `SamplingParams`;
                None takes the setting that the model was published with.
            seed: of the workers' random draws.
            options: further arguments of `CollaborationProtocol`.
        """
        settings = self._settings(
            seed,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            forbidden_tokens=forbidden_tokens,
        )
        return CollaborationProtocol(
            problem, self.tokenizer, workers, layout, max_forwards=max_forwards, **{**settings, **options}
        )

    def method(
        self, method: str | Method, problem: str, *, seed: int = 0, **options: Any
    ) -> BudgetedProtocol:
        """The protocol of any method, for `stream` and `run`, with the model's own settings.

        Args:
            method: such as "sequential", "self-consistency:4", "skeleton" or "hogwild:2:contiguous"; see
                `hogwild.protocols.parse`.
            problem: what is to be solved.
            seed: of all random draws.
            options: `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty` and `forbidden_tokens`
                replace the settings that the model was published with, see `SamplingParams`; all others are
                settings of `hogwild.protocols.make`, such as `budgets` and `answer_tokens`.
        """
        sampling = {name: options.pop(name, None) for name in _SAMPLING}
        return make(method, problem, self.tokenizer, **{**self._settings(seed, **sampling), **options})

    def _settings(self, seed: int, **sampling: Any) -> dict[str, Any]:
        """What protocols that take their texts from a family need to know of the model."""
        name = getattr(self.model.config, "name_or_path", "") or ""
        return {
            **self._published(seed, **sampling),
            "family": family_for(self.tokenizer, name),
            "max_length": binding_of(self.model).max_length,
        }

    def _published(self, seed: int, **sampling: Any) -> dict[str, Any]:
        """Sampling settings and end of a text, as the model was published with or as replaced."""
        if self.tokenizer is None:
            raise TypeError("tokenizer: the engine was made without one, but texts are to be written")
        check_integer("seed", seed)
        published = getattr(self.model, "generation_config", None)
        ends = getattr(published, "eos_token_id", None)
        params = SamplingParams.from_generation_config(published, seed=seed, **sampling)
        params.check_vocabulary(self.vocab_size)
        return {
            "sampling": params,
            "end_tokens": [ends] if isinstance(ends, int) else list(ends or ()),
        }

    def collaborate(
        self, problem: str, workers: int | Sequence[str] = 2, layout: str = "combined", **options: Any
    ) -> CollaborationResult:
        """Let several workers solve `problem` together over one shared cache (paper, section 3).

        Takes the arguments of `collaboration`.

        Returns:
            What they wrote, the answer if one was given, and the counts.
        """
        return CollaborationResult.from_events(
            self.stream(self.collaboration(problem, workers, layout, **options))
        )

    def thinking(
        self,
        problem: str,
        method: str = "async",
        policy: str | Policy | None = None,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        forbidden_tokens: Sequence[int] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> AsyncReasoningProtocol:
        """The protocol that `think` runs, for `submit`, `stream`, `run` and `open`.

        Args:
            problem: what the user asks.
            method: "async": a thinker and a writer at the same time. The baselines "think": all thoughts, then
                the answer; "no-think": the answer at once.
            policy: when the writer speaks, for "async": a name of `POLICIES`, or a policy; by default "probe".
            temperature, top_p, top_k, min_p, repetition_penalty, forbidden_tokens: of both streams, see
                `SamplingParams`; None takes the setting that the model was published with.
            seed: of the random draws.
            options: further arguments of `AsyncReasoningProtocol`.
        """
        settings = self._published(
            seed,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            forbidden_tokens=forbidden_tokens,
        )
        settings["max_length"] = binding_of(self.model).max_length
        return make_thinking(problem, self.tokenizer, method, policy, **{**settings, **options})

    def think(self, problem: str, method: str = "async", **options: Any) -> ThinkSession:
        """Think about `problem` and answer it at the same time, while the user may speak.

        Takes the arguments of `thinking`.

        Returns:
            A session. `for event in session` (or `async for`) follows it; `session.result()` runs it to its end.
        """
        return ThinkSession.open(self, self.thinking(problem, method, **options))

    def restore(self, path: str | os.PathLike[str], seed: int | None = None) -> ThinkSession:
        """A session that goes on where `ThinkSession.snapshot` wrote it to a file.

        Args:
            path: the file.
            seed: for other random draws from there on; None: the same.

        Raises:
            UnknownNameError: its policy is none of `POLICIES`, to which those of others can be added.
            BlockError: not such a file, or one of another model or page size.
            PoolExhausted: the pool has no room for it.
        """
        return ThinkSession.restore(self, path, seed)
