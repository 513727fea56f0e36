"""Rotary embeddings whose frequencies depend on the length of the input, held still for a shared cache.

Keys of a block are written once and read at many positions, so a model's frequencies must not change between
forwards. "dynamic" RoPE changes them past a limit and "longrope" at a switch; transformers would moreover judge
the length by block-local positions. During our forwards both are frozen: dynamic to its frequencies below the
limit, longrope to the short or the long ones, chosen by the longest view that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from hogwild.errors import UnsupportedModelError

__all__ = ["FrozenRope", "Watch", "find_frozen", "frozen", "frequencies", "tensors_of"]

_FROZEN = "frozen"


@dataclass(frozen=True, eq=False)
class FrozenRope:
    """One set of frequencies to hold still.

    Attributes:
        module: the rotary embedding.
        layer_type: which of its sets, for modules with one per layer type; else None.
        inv_freq: [R/2] float32, the frequencies to use.
        kind: "dynamic" or "longrope".
        limit: longest view for which these frequencies are right.
    """

    module: torch.nn.Module
    layer_type: str | None
    inv_freq: torch.Tensor
    kind: str
    limit: int

    @property
    def buffer(self) -> str:
        """Name of the module's own frequencies, replaced while frozen."""
        return "inv_freq" if self.layer_type is None else f"{self.layer_type}_inv_freq"


def frequencies(model: torch.nn.Module) -> list[tuple[torch.nn.Module, str]]:
    """Where the model keeps frequencies that are in use, of any layer type: (module, name of the buffer)."""
    return [
        (module, name)
        for module in model.modules()
        for name in module._buffers
        if name.endswith("inv_freq") and "original" not in name and "long_inv_freq" not in name
    ]


class Watch:
    """Notices when a model's frequencies are no longer what they were.

    Args:
        places: from `frequencies`.
    """

    def __init__(self, places: Sequence[tuple[torch.nn.Module, str]]) -> None:
        self._places = list(places)
        self._seen = [(tensor, _version(tensor)) for tensor in tensors_of(places)]
        self._values = [tensor.detach().cpu().clone() for tensor, _ in self._seen]

    @property
    def changed(self) -> bool:
        """Whether they differ. A model that was moved to another device keeps them."""
        for index, tensor in enumerate(tensors_of(self._places)):
            seen, version = self._seen[index]
            if tensor is seen and version == _version(tensor):
                continue
            values, now = self._values[index], tensor.detach().cpu()
            if now.dtype != values.dtype or not torch.equal(now, values):
                return True
            self._seen[index] = tensor, _version(tensor)
        return False


def tensors_of(places: Sequence[tuple[torch.nn.Module, str]]) -> list[torch.Tensor]:
    """The frequencies in these places, as they are now."""
    # not by getattr, which looks everywhere else first
    return [module._buffers[name] for module, name in places]  # type: ignore[misc]


def _version(tensor: torch.Tensor) -> int:
    """Grows when numbers are written to the tensor; those made in inference mode do not tell."""
    return 0 if tensor.is_inference() else tensor._version


def find_frozen(model: torch.nn.Module, config: PreTrainedConfig, max_length: int | None) -> list[FrozenRope]:
    """The rotary embeddings of `model` that must be frozen, and their frequencies for views up to `max_length`.

    Raises:
        UnsupportedModelError: no choice is right for views of `max_length` tokens.
    """
    result = []
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if kinds is None:
            continue
        for layer_type, kind in kinds.items() if isinstance(kinds, dict) else [(None, kinds)]:
            if "dynamic" in kind:
                result.append(_dynamic(module, layer_type, max_length))
            elif kind == "longrope":
                result.append(_longrope(module, layer_type, config, max_length))
    return result


def _dynamic(module: torch.nn.Module, layer_type: str | None, max_length: int | None) -> FrozenRope:
    limit: int = module.original_max_seq_len  # type: ignore[assignment]
    if max_length is not None and max_length > limit:
        raise UnsupportedModelError(
            f"max_length={max_length}: dynamic RoPE changes its frequencies past {limit} tokens, and keys that "
            f"are in the cache cannot follow; use max_length={limit} or a model with yarn or linear scaling"
        )
    return FrozenRope(module, layer_type, _original(module, layer_type), "dynamic", limit)


def _longrope(
    module: torch.nn.Module, layer_type: str | None, config: PreTrainedConfig, max_length: int | None
) -> FrozenRope:
    own = getattr(module, "config", config)
    parameters = own.rope_parameters if layer_type is None else own.rope_parameters[layer_type]
    switch = int(parameters["original_max_position_embeddings"])
    if max_length is None or max_length <= switch:
        return FrozenRope(module, layer_type, _original(module, layer_type), "longrope", switch)
    extra = {} if layer_type is None else {"layer_type": layer_type}
    device = _original(module, layer_type).device
    long, _ = ROPE_INIT_FUNCTIONS["longrope"](own, device, seq_len=switch + 1, **extra)
    limit = int(getattr(own, "max_position_embeddings", max_length))
    return FrozenRope(module, layer_type, long.float(), "longrope", limit)


def _original(module: torch.nn.Module, layer_type: str | None) -> torch.Tensor:
    name = "original_inv_freq" if layer_type is None else f"{layer_type}_original_inv_freq"
    return getattr(module, name).detach().float().clone()


@contextmanager
def frozen(ropes: Sequence[FrozenRope]) -> Iterator[None]:
    """Hold the frequencies still within this context."""
    saved = []
    try:
        for rope in ropes:
            saved.append((rope, getattr(rope.module, rope.buffer), rope.module.rope_type))
            kinds = rope.module.rope_type
            held = kinds | {rope.layer_type: _FROZEN} if isinstance(kinds, dict) else _FROZEN
            setattr(rope.module, "rope_type", held)  # noqa: B010 (type checkers take it for a submodule)
            setattr(rope.module, rope.buffer, rope.inv_freq)
        yield
    finally:
        for rope, inv_freq, kinds in reversed(saved):
            rope.module.rope_type = kinds
            setattr(rope.module, rope.buffer, inv_freq)
