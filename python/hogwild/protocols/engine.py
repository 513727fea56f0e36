"""The engine that people use: the core, and a method for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hogwild.engine.checks import check_integer
from hogwild.engine.core import EngineCore
from hogwild.engine.sampling import SamplingParams
from hogwild.models import binding_of
from hogwild.prompting import family_for
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
        settings = self._published(
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
        return make(method, problem, self.tokenizer, **{**self._published(seed, **sampling), **options})

    def _published(self, seed: int, **sampling: Any) -> dict[str, Any]:
        """What protocols need to know of the model."""
        check_integer("seed", seed)
        published = getattr(self.model, "generation_config", None)
        ends = getattr(published, "eos_token_id", None)
        name = getattr(self.model.config, "name_or_path", "") or ""
        return {
            "sampling": SamplingParams.from_generation_config(published, seed=seed, **sampling),
            "end_tokens": [ends] if isinstance(ends, int) else list(ends or ()),
            "family": family_for(self.tokenizer, name),
            "max_length": binding_of(self.model).max_length,
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
