"""`enable(model)`: from then on the model takes our caches as `past_key_values`."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from hogwild.cache import Block, BlockSet
from hogwild.errors import UnsupportedModelError
from hogwild.models.binding import Binding
from hogwild.models.cache_argument import CacheArgument, plan_inputs

__all__ = ["binding_of", "disable", "enable"]


# What models are given of images, videos and sounds.
_NO_TEXT = ("pixel_", "image_", "video_", "input_features", "audio_")


class _Hooks:
    """Hooks around the calls of one module. In a copy of the module (deepcopy, pickle) they do nothing."""

    _binding: Binding | None = None
    _handles: Sequence[RemovableHandle] = ()

    def attach(self, module: torch.nn.Module, binding: Binding) -> None:
        self._binding = binding
        self._handles = [
            module.register_forward_pre_hook(self.begin, with_kwargs=True),
            module.register_forward_hook(self.end, with_kwargs=True, always_call=True),
        ]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hooks:
        return _Hooks()

    def __reduce__(self) -> tuple[type[_Hooks], tuple[()]]:
        return _Hooks, ()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def begin(
        self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]] | None:
        """Pre-hook: a call with one of our caches becomes a call without any, within a running plan."""
        binding = self._binding
        if binding is None or torch.compiler.is_compiling():  # only forwards of an engine are compiled
            return None
        binding.settle()
        if not any(_is_cache(argument) for argument in (*args, *kwargs.values())):
            _refuse_others(kwargs.get("past_key_values"))
            binding.begin_plain()
            return None
        kwargs = _named(module.forward, args) | kwargs
        cache = kwargs.get("past_key_values")
        if cache is None or not _is_cache(cache):
            name = next(name for name, argument in kwargs.items() if _is_cache(argument))
            raise TypeError(f"{name}: a shared cache goes into past_key_values")
        if kwargs.get("position_ids") is not None:
            raise ValueError("position_ids: leave it out, positions follow from the blocks")
        for name, argument in kwargs.items():
            if argument is not None and name.startswith(_NO_TEXT):
                raise ValueError(f"{name}: leave it out, blocks hold text")
        inputs = kwargs.get("input_ids")
        vocabulary = binding.config.vocab_size
        plan = plan_inputs(
            cache, inputs, kwargs.get("inputs_embeds"), kwargs.get("attention_mask"), vocabulary
        )
        try:
            binding.begin(plan, sys._getframe(1))
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

    def end(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        """Hook behind the call; after a failure too, then without an output."""
        if self._binding is not None and not torch.compiler.is_compiling():
            self._binding.end(sys._getframe(1), success=output is not None)


class _Enabled:
    """Binding and hooks of one model."""

    def __init__(self, model: PreTrainedModel, max_length: int | None) -> None:
        self.binding = Binding(model, max_length)
        # the inner model too, since wrappers such as PEFT call its parent's forward past the hooks
        self.hooks = [_Hooks() for _ in _modules(model)]
        for hooks, module in zip(self.hooks, _modules(model), strict=True):
            hooks.attach(module, self.binding)


# gone with the models
_ENABLED: weakref.WeakKeyDictionary[torch.nn.Module, _Enabled] = weakref.WeakKeyDictionary()


def _modules(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The model, and the decoder inside of it where that is a module of its own."""
    base = getattr(model, "base_model", model)
    return [model] if base is model else [model, base]


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
        ValueError, TypeError: `max_length` is more than the model's positions, or no integer.
    """
    if model in _ENABLED:
        _ENABLED[model].binding.settle()
    for other in list(_ENABLED):
        if other is not model and any(module in _modules(other) for module in _modules(model)):
            raise UnsupportedModelError(
                f"{type(other).__name__} shares modules with this {type(model).__name__} and is enabled already: "
                "disable it first"
            )
    enabled = _Enabled(model, max_length)
    disable(model)
    _ENABLED[model] = enabled
    return model


def disable(model: PreTrainedModel) -> PreTrainedModel:
    """Undo `enable`; harmless if the model is not enabled."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a transformers PreTrainedModel, got {type(model).__name__}")
    enabled = _ENABLED.pop(model, None)
    if enabled is not None:
        enabled.binding.settle()
        for hooks in enabled.hooks:
            hooks.remove()
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


def _is_cache(argument: object) -> bool:
    return isinstance(argument, (CacheArgument, Block))


def _refuse_others(cache: object) -> None:
    """Several blocks are a view where a manager makes one of them."""
    if isinstance(cache, BlockSet) or (isinstance(cache, (list, tuple)) and any(map(_is_cache, cache))):
        raise TypeError(
            "past_key_values: expected a CacheBlock, or what SharedCacheManager.get_input_kwargs gives, got a "
            f"{type(cache).__name__} of blocks"
        )


def _named(forward: Callable, args: tuple) -> dict[str, Any]:
    """Positional arguments by name."""
    return dict(zip(inspect.signature(forward).parameters, args, strict=False))
