"""The attention function that Hugging Face models call while a shared-cache forward runs.

Registered under the name ``"hogwild"``. Models reach it through transformers' attention interface; what it
does is decided by the `Attend` that is active in the current context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from transformers import AttentionInterface

from hogwild.errors import HogwildError, UnsupportedModelError

__all__ = ["IMPLEMENTATION", "Attend", "AttentionCall", "attending"]

IMPLEMENTATION = "hogwild"

# keyword arguments that say nothing our metadata does not say, or that we take up below
_IGNORED = {"position_ids", "cache_position", "position_embeddings", "is_causal", "layer_idx"}


class AttentionCall:
    """The arguments of one call, in the packed form of the ops.

    Attributes:
        layer: index of the attention layer.
        q, k, v: [T, heads, head_dim], [T, kv_heads, head_dim], [T, kv_heads, value_dim].
        scale, window, softcap, sinks: as in `torch.ops.hogwild.attention`.
    """

    __slots__ = ("k", "layer", "q", "scale", "sinks", "softcap", "v", "window")

    def __init__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        sliding_window: int | None,
        softcap: float | None,
        s_aux: torch.Tensor | None,
    ) -> None:
        self.layer = _layer_index(module)
        self.q, self.k, self.v = _packed(query), _packed(key), _packed(value)
        self.scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
        self.window = _window(module, self.layer) if sliding_window is None else int(sliding_window)
        self.softcap = 0.0 if softcap is None else float(softcap)
        self.sinks = None if s_aux is None else s_aux.detach()


class Attend(Protocol):
    """What to do with the calls of one forward."""

    def __call__(self, call: AttentionCall) -> torch.Tensor:
        """Output of one layer, [T, heads, value_dim]."""


class _Active:
    """An `Attend` and whether its forward still runs."""

    __slots__ = ("attend", "live")

    def __init__(self, attend: Attend) -> None:
        self.attend, self.live = attend, True


_ACTIVE: ContextVar[_Active | None] = ContextVar("hogwild_attend", default=None)


@contextmanager
def attending(attend: Attend) -> Iterator[None]:
    """Let `attend` answer the attention calls of the forwards in this context."""
    before, active = _ACTIVE.get(), _Active(attend)
    _ACTIVE.set(active)
    try:
        yield
    finally:
        # Marked and not only reset: a forward that Ctrl-C left behind may be cleared up by another thread.
        active.live = False
        _ACTIVE.set(before)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: q, k, v [B, heads, n, dim] -> ([B, n, heads, value_dim], None)."""
    active = _ACTIVE.get()
    if active is None or not active.live:
        raise HogwildError(
            'attention implementation "hogwild" was called outside of a shared-cache forward; '
            "use hogwild.enable(model) and pass past_key_values, or run the model through an Engine"
        )
    if attention_mask is not None:
        raise UnsupportedModelError(
            f"{type(module).__name__} builds an attention mask of its own, of shape {tuple(attention_mask.shape)}: "
            "a shared cache decides by blocks and positions what is visible"
        )
    if dropout:
        raise UnsupportedModelError(f"attention dropout is {dropout}: call model.eval() first")
    for name, argument in kwargs.items():
        if isinstance(argument, torch.Tensor) and name not in _IGNORED:
            raise UnsupportedModelError(
                f"{type(module).__name__} passes a tensor {name!r} to its attention function"
            )
    call = AttentionCall(module, query, key, value, scaling, sliding_window, softcap, s_aux)
    out = active.attend(call)
    return out.view(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None


def _packed(x: torch.Tensor) -> torch.Tensor:
    """[B, heads, n, dim] -> [B * n, heads, dim]; inference only, so without history."""
    return x.detach().transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _layer_index(module: torch.nn.Module) -> int:
    index = getattr(module, "layer_idx", None)
    if not isinstance(index, int):
        raise UnsupportedModelError(f"{type(module).__name__} does not know its layer_idx")
    return index


def _window(module: torch.nn.Module, layer: int) -> int:
    """Window of a layer that leaves it to the mask; 0 for none."""
    config = getattr(module, "config", None)
    types = getattr(config, "layer_types", None)
    if types and layer < len(types) and types[layer] == "sliding_attention":
        return int(getattr(config, "sliding_window", None) or 0)
    return 0


# Deliberately not registered with AttentionMaskInterface: an implementation without a mask function makes
# every create_*_mask of transformers return None before it touches a cache.
AttentionInterface.register(IMPLEMENTATION, _attention)
