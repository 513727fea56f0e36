"""The engine that people use: the core, and a method for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hogwild.engine.checks import check_integer
from hogwild.engine.core import EngineCore
from hogwild.engine.sampling import SamplingParams
from hogwild.protocols.collaboration import CollaborationProtocol
from hogwild.protocols.result import CollaborationResult


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
        check_integer("seed", seed)
        published = getattr(self.model, "generation_config", None)
        sampling = SamplingParams.from_generation_config(
            published,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            forbidden_tokens=forbidden_tokens,
            seed=seed,
        )
        ends = getattr(published, "eos_token_id", None)
        options.setdefault("end_tokens", [ends] if isinstance(ends, int) else list(ends or ()))
        return CollaborationProtocol(
            problem, self.tokenizer, workers, layout, max_forwards=max_forwards, sampling=sampling, **options
        )

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
