"""Calling a model as it is, or through torch.compile, with its sibling projections joined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch._dynamo import config as dynamo_config
from transformers import PreTrainedModel

from hogwild.models.enable import binding_of
from hogwild.models.joined import JoinedProjections, find_siblings

__all__ = ["COMPILE_MODES", "ModelCall"]

COMPILE_MODES = ("none", "layers", "model")

# One entry for each number of tokens and, where layers are compiled, for each kind of layer.
_RECOMPILE_LIMIT = 256
_MOST_COMPILED = 256  # tokens; with more, matrix products take nearly all of the time


class ModelCall:
    """How the forwards of fixed size call the model.

    Args:
        model: enabled by `hogwild.enable`.
        compile: "none" calls the model's own code; "layers" compiles its decoder layers, one piece of code for
            all that are alike; "model" compiles its forward as a whole, which takes several times as long and
            also fuses across layers. Compiled code is made anew for each number of tokens, and kept on disk by
            PyTorch for the next start. Forwards of more than 256 tokens are not compiled.
        join: compute sibling projections (q, k and v; gate and up) as one product each.
        backend: of torch.compile.

    Raises:
        ValueError: an unknown `compile`.
    """

    def __init__(
        self, model: PreTrainedModel, compile: str = "none", join: bool = False, backend: str = "inductor"
    ) -> None:
        if compile not in COMPILE_MODES:
            raise ValueError(f"compile: expected one of {', '.join(COMPILE_MODES)}; got {compile!r}")
        self.model, self.compile = model, compile
        self._keeps_logits = binding_of(model).keeps_logits
        self.joined = JoinedProjections(find_siblings(model, binding_of(model).trial)) if join else None
        self._compiled: dict[torch.nn.Module, Any] = {}
        if compile != "none":
            targets = [model] if compile == "model" else _repeated(model)
            self._compiled = {
                module: torch.compile(module.forward, fullgraph=True, dynamic=False, backend=backend)
                for module in targets
            }

    def __call__(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Logits [len(rows), vocab] of some of the packed tokens, within a running forward of the binding.

        Args:
            input_ids, position_ids: [T] int64.
            rows: packed indices, int64.
        """
        with self._switched_on(compiled=len(input_ids) <= _MOST_COMPILED):
            output = self.model(
                input_ids=input_ids[None],
                position_ids=position_ids[None],
                attention_mask=None,
                past_key_values=None,
                use_cache=False,
                **({"logits_to_keep": rows} if self._keeps_logits else {}),
            )
        logits: torch.Tensor = output.logits[0]
        return logits if self._keeps_logits else logits.index_select(0, rows)

    @contextmanager
    def _switched_on(self, compiled: bool) -> Iterator[None]:
        """Compiled forwards stand in for the modules' own."""
        stand_ins = self._compiled if compiled else {}
        there = {m: m.__dict__["forward"] for m in stand_ins if "forward" in m.__dict__}
        # but for what a Ctrl-C has left there
        before = {m: forward for m, forward in there.items() if forward is not stand_ins[m]}
        limits: dict[str, Any] = {
            "recompile_limit": _RECOMPILE_LIMIT,
            "accumulated_recompile_limit": 8 * _RECOMPILE_LIMIT,
        }
        try:
            for module, forward in stand_ins.items():
                module.__dict__["forward"] = forward
            with (
                dynamo_config.patch(limits) if stand_ins else nullcontext(),
                self.joined.active() if self.joined else nullcontext(),
            ):
                yield
        finally:
            for module in stand_ins:
                module.__dict__.pop("forward", None)
            for module, forward in before.items():  # somebody's wrapper around the module's own
                module.__dict__["forward"] = forward


def _repeated(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The decoder layers, and what stands beside them in the decoder but for embeddings and projections."""
    decoder = model.get_decoder()
    found: list[torch.nn.Module] = []
    for child in decoder.children():
        if isinstance(child, torch.nn.ModuleList):
            found += list(child)
        elif not isinstance(child, (torch.nn.Embedding, torch.nn.Linear)):
            found.append(child)
    return found
