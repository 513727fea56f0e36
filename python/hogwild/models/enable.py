"""`enable(model)`: from then on the model takes our caches as `past_key_values`."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from hogwild.errors import UnsupportedModelError
from hogwild.models.binding import Binding
from hogwild.models.cache_argument import CacheArgument, plan_inputs

__all__ = ["binding_of", "disable", "enable"]


class _Enabled:
    """Binding and hooks of one model."""

    def __init__(self, model: PreTrainedModel, max_length: int | None) -> None:
        self.binding = Binding(model, max_length)
        # the inner model too, since wrappers such as PEFT call its parent's forward past the hooks
        modules = {id(m): m for m in (model, model.base_model)}
        self.handles = []
        for module in modules.values():
            self.handles.append(module.register_forward_pre_hook(_begin, with_kwargs=True))
            self.handles.append(module.register_forward_hook(_end, with_kwargs=True, always_call=True))
            _BY_MODULE[module] = self.binding


# gone with the models; the hooks find the binding by module, so that a deep copy of a model is not bound
_ENABLED: weakref.WeakKeyDictionary[torch.nn.Module, _Enabled] = weakref.WeakKeyDictionary()
_BY_MODULE: weakref.WeakKeyDictionary[torch.nn.Module, Binding] = weakref.WeakKeyDictionary()


def enable(model: PreTrainedModel, max_length: int | None = None) -> PreTrainedModel:
    """Make a loaded Hugging Face model work on the shared cache.

    The model's modules stay as they are. Calls with a `CacheBlock` or with a manager's input kwargs as
    `past_key_values` use the shared cache; all other calls, `generate` included, are as before. How the model
    rotates queries and keys is found by one forward of four tokens. One forward of a model may run at a time.

    Args:
        model: a causal language model with rotary embeddings, in float32, bfloat16 or float16.
        max_length: longest view that is wanted, in tokens. It decides between the short and the long
            frequencies of longrope; default: the model's positions, or the end of longrope's short range.

    Returns:
        The model itself.

    Raises:
        UnsupportedModelError: it cannot share a cache; the message says why, and the model is as it was.
        ValueError: `max_length` is more than the model's positions.
    """
    enabled = _Enabled(model, max_length)
    disable(model)
    _ENABLED[model] = enabled
    for module in (model, model.base_model):
        _BY_MODULE[module] = enabled.binding
    return model


def disable(model: PreTrainedModel) -> PreTrainedModel:
    """Undo `enable`; harmless if the model is not enabled."""
    enabled = _ENABLED.pop(model, None)
    if enabled is not None:
        enabled.binding.abandon()
        for handle in enabled.handles:
            handle.remove()
        for module in (model, model.base_model):
            _BY_MODULE.pop(module, None)
    return model


def binding_of(model: torch.nn.Module) -> Binding:
    """The binding of an enabled model.

    Raises:
        UnsupportedModelError: the model is not enabled.
    """
    enabled = _ENABLED.get(model)
    if enabled is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} is not enabled: call hogwild.enable(model) first"
        )
    return enabled.binding


def _begin(
    module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]] | None:
    """Forward pre-hook: a call with one of our caches becomes a call without any, within a running plan."""
    binding = _BY_MODULE.get(module)
    if binding is None:
        return None
    binding.abandon(module)
    if not any(isinstance(argument, CacheArgument) for argument in (*args, *kwargs.values())):
        return None
    kwargs = _named(module.forward, args) | kwargs
    cache = kwargs["past_key_values"]
    if kwargs.get("position_ids") is not None:
        raise ValueError("position_ids: leave it out, positions follow from the blocks")
    inputs = kwargs.get("input_ids")
    plan = plan_inputs(cache, inputs, kwargs.get("inputs_embeds"), kwargs.get("attention_mask"))
    try:
        binding.begin(module, plan)
    except BaseException:
        plan.rollback()
        raise
    tokens = inputs if inputs is not None else kwargs["inputs_embeds"]
    return (), kwargs | {
        "past_key_values": None,
        "use_cache": False,
        "attention_mask": None,
        "position_ids": plan.position_ids.to(tokens.device),
    }


def _end(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
    """Forward hook, called after failures too, then without an output."""
    binding = _BY_MODULE.get(module)
    if binding is not None:
        binding.end(module, success=output is not None)


def _named(forward: Callable, args: tuple) -> dict[str, Any]:
    """Positional arguments by name."""
    return dict(zip(inspect.signature(forward).parameters, args, strict=False))
