"""The attention function that Hugging Face models call while a shared-cache forward runs.

Registered under the name ``"hogwild"``. Models reach it through transformers' attention interface; what it
does is decided by the `Attend` that is active in the current context.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import torch
from transformers import AttentionInterface

from hogwild.errors import HogwildError, UnsupportedModelError

__all__ = ["IMPLEMENTATION", "Attend", "AttentionCall", "LayerCall", "attending", "is_attending"]

IMPLEMENTATION = "hogwild"

_UNSAID = -1  # the layer's own window

# keyword arguments that say nothing our metadata does not say, or that we take up below
_IGNORED = {
    "position_ids",
    "cache_position",
    "position_embeddings",
    "is_causal",
    "layer_idx",
    "logits_to_keep",  # some wrappers hand on all that they are given
}


class LayerCall(NamedTuple):
    """What a compiled forward does not say of an attention call; the n-th entry is that of the n-th call.

    Attributes:
        layer: index of the attention layer.
        window: of the layer, 0 for none.
    """

    layer: int
    window: int


class AttentionCall(NamedTuple):
    """The arguments of one call, in the packed form of the ops.

    Attributes:
        layer: index of the attention layer.
        q, k, v: [T, heads, head_dim], [T, kv_heads, head_dim], [T, kv_heads, value_dim].
        scale, window, softcap, sinks: as in `torch.ops.hogwild.attention`.
    """

    layer: int
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    scale: float
    window: int
    softcap: float
    sinks: torch.Tensor | None


class Attend(Protocol):
    """What to do with the calls of one forward."""

    def __call__(self, call: AttentionCall) -> torch.Tensor:
        """Output of one layer, [T, heads, value_dim]."""


class _Active:
    """An `Attend`, the calls of it that a compiled forward makes, and whether its forward still runs."""

    __slots__ = ("attend", "calls", "live")

    def __init__(self, attend: Attend, calls: Sequence[LayerCall]) -> None:
        self.attend, self.calls, self.live = attend, iter(calls), True


_ACTIVE: ContextVar[_Active | None] = ContextVar("hogwild_attend", default=None)


@contextmanager
def attending(attend: Attend, calls: Sequence[LayerCall] = ()) -> Iterator[None]:
    """Let `attend` answer the attention calls of the forward in this context.

    Args:
        attend: what answers.
        calls: those of the forward in their order, which compiled code needs.
    """
    before, active = _ACTIVE.get(), _Active(attend, calls)
    _ACTIVE.set(active)
    try:
        yield
    finally:
        # Marked and not only reset: a forward that Ctrl-C left behind may be cleared up by another thread.
        active.live = False
        _ACTIVE.set(before)


def is_attending() -> bool:
    """Whether a forward in this context is one of the shared cache."""
    active = _ACTIVE.get()
    return active is not None and active.live


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = _UNSAID,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: q, k, v [B, heads, n, dim] -> ([B, n, heads, value_dim], None)."""
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
    q, k, v = _packed(query), _packed(key), _packed(value)
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    cap = 0.0 if softcap is None else float(softcap)
    sinks = None if s_aux is None else s_aux.detach()
    if torch.compiler.is_compiling():
        # The layer's index is not looked at: code that is compiled for one layer serves all that are like it.
        window = _UNSAID if sliding_window is None else int(sliding_window)
        out = torch.ops.hogwild._attend(q, k, v, scale, window, cap, sinks)
    else:
        layer = _layer_index(module)
        if sliding_window is None or sliding_window == _UNSAID:
            window = _window(module, layer, is_said=sliding_window is None)
        else:
            window = int(sliding_window)
        out = _active().attend(AttentionCall(layer, q, k, v, scale, window, cap, sinks))
        if torch.is_grad_enabled() and query.requires_grad:
            out = _NoGradients.apply(out, query)
    return out.view(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None


class _NoGradients(torch.autograd.Function):
    """Keeps a backward pass from taking what it finds behind attention for all there is."""

    @staticmethod
    def forward(ctx: Any, out: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> None:
        raise HogwildError(
            "a forward with a shared cache has no gradients; train with plain calls of the model"
        )


def _active() -> _Active:
    active = _ACTIVE.get()
    if active is None or not active.live:
        raise HogwildError(
            'attention implementation "hogwild" was called outside of a shared-cache forward; '
            "use hogwild.enable(model) and pass past_key_values, or run the model through an Engine"
        )
    return active


def _attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    window: int,
    softcap: float,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """An attention call of compiled code, which knows nothing of caches: the context tells layer and pages."""
    active = _active()
    call = next(active.calls, None)
    if call is None:
        raise UnsupportedModelError("compiled code calls attention more often than the model does")
    layer_window = call.window if window == _UNSAID else window
    return active.attend(AttentionCall(call.layer, q, k, v, scale, layer_window, softcap, sinks))


def _attend_fake(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: object) -> torch.Tensor:
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2])


# Opaque to compilers. No argument is said to be mutated: the pages are none, so that nothing copies them; what
# orders the calls is that each layer's input depends on the layer before.
_LIBRARY = torch.library.Library("hogwild", "FRAGMENT")
_LIBRARY.define(
    "_attend(Tensor q, Tensor k, Tensor v, float scale, int window, float softcap, Tensor? sinks) -> Tensor"
)
_LIBRARY.impl("_attend", _attend, "CompositeExplicitAutograd")
torch.library.register_fake("hogwild::_attend", _attend_fake, lib=_LIBRARY)


def _packed(x: torch.Tensor) -> torch.Tensor:
    """[B, heads, n, dim] -> [B * n, heads, dim]; inference only, so without history."""
    return x.detach().transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])


def _layer_index(module: torch.nn.Module) -> int:
    index = getattr(module, "layer_idx", None)
    if not isinstance(index, int):
        raise UnsupportedModelError(f"{type(module).__name__} does not know its layer_idx")
    return index


def _window(module: torch.nn.Module, layer: int, is_said: bool) -> int:
    """Window of a layer that leaves it to the mask; 0 for none.

    Args:
        is_said: whether the layer told its attention function that it has none of its own.
    """
    config = getattr(module, "config", None)
    window = int(getattr(config, "sliding_window", None) or 0)
    types = getattr(config, "layer_types", None)
    if types:
        return window if layer < len(types) and types[layer] == "sliding_attention" else 0
    # The model alone knows then whether it makes a mask of it for all layers (phimoe), or none.
    makes_mask = hasattr(sys.modules.get(type(module).__module__), "create_sliding_window_causal_mask")
    return window if makes_mask and not is_said else 0


# Deliberately not registered with AttentionMaskInterface: an implementation without a mask function makes
# every create_*_mask of transformers return None before it touches a cache.
AttentionInterface.register(IMPLEMENTATION, _attention)
