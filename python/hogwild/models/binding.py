"""Making a loaded Hugging Face model use the shared cache, without changing its modules."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from hogwild.cache import Ahead, ForwardPlan, Pool, Rotary
from hogwild.errors import BlockError, ContextLengthError, HogwildError, UnsupportedModelError
from hogwild.models.attention import IMPLEMENTATION, attending, is_attending
from hogwild.models.cache_attend import CacheAttend, Inputs
from hogwild.models.long_rows import find_long_rows
from hogwild.models.probe import RotaryProbe, probe, trial_forward
from hogwild.models.rope import FrozenRope, Watch, find_frozen, frequencies, frozen, tensors_of

__all__ = ["Binding", "text_config"]

_ANOTHER = "another forward of this model is running: one may run at a time"
_ORDERED = "its state depends on the order of tokens and cannot be arranged in blocks"
_COMPRESSED = "it sees summaries of fixed groups of tokens, which blocks would cut elsewhere"
_REACH = {  # frequencies that are held still -> how far they are right
    "dynamic": "dynamic RoPE changes its frequencies, which keys in the cache cannot follow, past",
    "longrope": "the short longrope frequencies (enable(model, max_length=...) chooses the long ones) reach to",
}
_UNSHARED = {  # type of layer -> why it cannot share a cache
    "chunked_attention": "it sees fixed chunks of absolute positions, but a block has no absolute position",
    "compressed_sparse_attention": _COMPRESSED,
    "conv": _ORDERED,
    "heavily_compressed_attention": _COMPRESSED,
    "linear_attention": _ORDERED,
    "mamba": _ORDERED,
    "recurrent": _ORDERED,
}


class Binding:
    """What Hogwild knows about one model, and the switch that makes a forward use the shared cache.

    Args:
        model: a causal language model of transformers, its weights loaded.
        max_length: longest view that is wanted; default: the model's own number of positions, and for longrope
            the end of its short range.

    Attributes:
        max_length, limit_reason: most tokens that a view may hold, and why, as a `ContextLengthError` says it.
        gives_logits, keeps_logits: whether it has a language model's head, and whether it computes the logits of
            those tokens alone that `logits_to_keep` names.

    Raises:
        UnsupportedModelError: the model cannot share a cache; the message says why.
        ValueError, TypeError: `max_length` is not within the model's positions, or no integer.
    """

    def __init__(self, model: PreTrainedModel, max_length: int | None = None) -> None:
        if not isinstance(model, PreTrainedModel):
            raise TypeError(f"model: expected a transformers PreTrainedModel, got {type(model).__name__}")
        self._model = weakref.ref(model)
        self.config = text_config(model)
        _refuse(model, self.config)
        positions = getattr(self.config, "max_position_embeddings", None)
        if max_length is not None and (isinstance(max_length, bool) or not isinstance(max_length, int)):
            raise TypeError(f"max_length: expected an integer or None, got {max_length!r}")
        if max_length is not None and not 1 <= max_length <= (positions or max_length):
            raise ValueError(
                f"max_length: expected 1 to {positions} (the model's positions), got {max_length}"
            )
        self._frozen: list[FrozenRope] = find_frozen(model, self.config, max_length)
        limits = [
            (positions, "the model has positions for"),
            (max_length, "max_length, as the model was enabled, is"),
            *((rope.limit, _REACH[rope.kind]) for rope in self._frozen),
        ]
        known = [(most, reason) for most, reason in limits if most is not None]
        self.max_length: int | None
        self.limit_reason: str
        self.max_length, self.limit_reason = min(known, key=lambda limit: limit[0], default=(None, ""))
        self._implementation = self.config._attn_implementation  # of plain calls
        self._begun: _Begun | None = None
        self._running: ForwardPlan | Ahead | None = None
        places = frequencies(model)
        held = {
            (rope.module, rope.buffer) for rope in self._frozen
        }  # a plain call may change the model's own there
        self._frequencies = Watch([place for place in places if place not in held])
        with self._switched_on():
            found = probe(model, self.config, tensors_of(places), self.max_length)
        self.rotary: list[Rotary | None] = found.rotary
        self._calls = found.calls
        self.gives_logits, self.keeps_logits = found.gives_logits, found.keeps_logits

    @property
    def model(self) -> PreTrainedModel:
        model = self._model()
        if model is None:
            raise RuntimeError("the model of this binding was deleted")
        return model

    @contextmanager
    def running(self, plan: ForwardPlan | Ahead, inputs: Inputs | None = None) -> Iterator[None]:
        """Let the forward in this context write and read what `plan` says. The caller commits or rolls back.

        Args:
            plan: whose pages are written to.
            inputs: where the ops find the plan's integers, padded perhaps; by default in the plan itself, which is
                not an `Ahead` then.

        Raises:
            BlockError: the plan's blocks belong to another model.
            ContextLengthError: a view would be longer than the model's positions.
            HogwildError: another forward of the model is running.
            UnsupportedModelError: an attention layer was not called exactly once.
        """
        if inputs is None:
            assert isinstance(plan, ForwardPlan)
            attend = CacheAttend(plan.pool, plan, self.rotary, find_long_rows(plan))
        else:  # of fixed size, where nobody may ask how long a row is
            attend = CacheAttend(plan.pool, inputs, self.rotary)
        with self.replaying(plan), self._switched_on(), attending(attend, self._calls):
            yield
        if missing := sorted(set(range(len(self.rotary))) - attend.layers):
            raise UnsupportedModelError(
                f"attention layers {missing} did not use the shared cache in this forward"
            )

    def replaying(self, plan: ForwardPlan | Ahead) -> _Replaying:
        """`running` for a forward that was captured before: checked in the same way, but nothing calls the model."""
        return _Replaying(self, plan)

    def trial(self) -> None:
        """A forward of one token that uses no cache, for those who watch the model's modules."""
        with self._switched_on():
            trial_forward(self.model, self.config, torch.zeros(1, dtype=torch.int64), RotaryProbe())

    def begin(self, plan: ForwardPlan, frame: FrameType) -> None:
        """Enter `running` for a module's call that executes in `frame`; its end comes in another call (hooks)."""
        stack = ExitStack()
        stack.enter_context(self.running(plan))
        self._begun = _Begun(stack, plan, frame, frame.f_back, threading.get_ident())

    def begin_plain(self) -> None:
        """Refuse a plain call beside a forward of the shared cache: it would attend without a mask."""
        is_on = self.config._attn_implementation == IMPLEMENTATION
        if is_on and self._running is not None and self._running.is_open and not is_attending():
            raise HogwildError(_ANOTHER)

    def end(self, frame: FrameType, success: bool) -> None:
        """End what `begin` began for the call in `frame`: commit on success, else roll back.

        Harmless for any other call, such as one that was refused while this one runs.
        """
        begun = self._begun
        if begun is None or (frame is not begun.frame and frame is not begun.caller):
            return
        if not success:
            self._abandon()
            return
        self._begun = None
        try:
            begun.stack.close()
            begun.plan.commit()
        finally:
            begun.plan.rollback()

    def settle(self) -> None:
        """Undo a forward that was begun and left without an end: Ctrl-C passes hooks by."""
        if self._begun is not None and not self._begun.is_live():
            self._abandon()

    def _abandon(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.plan.rollback()
            with suppress(HogwildError):  # it did not use all layers
                begun.stack.close()

    def _check(self, plan: ForwardPlan | Ahead) -> None:
        pool = plan.pool
        if pool.model is not self._model:
            self._check_owner(pool)
        longest = max(plan.view_lengths)
        if self.max_length is not None and longest > self.max_length:
            row = plan.view_lengths.index(longest)
            self._refuse_length(f"the view of row {row}", longest)
        if self._frequencies.changed:
            raise UnsupportedModelError(
                "the model's rotary frequencies changed after enable(): call enable(model) again"
            )
        pool.model = self._model

    def _check_owner(self, pool: Pool) -> None:
        owner = pool.model() if pool.model is not None else None
        if pool.model is not None and owner is not self.model and not pool.is_empty:
            other = "a model that was deleted" if owner is None else f"another model ({type(owner).__name__})"
            raise BlockError(
                f"the blocks of this forward hold keys of {other}, not of this {type(self.model).__name__}: a "
                "pool belongs to the model that wrote to it first"
            )
        if pool.model is not None and owner is not self.model:
            pool.start_over()  # that one may have more layers, or others

    def _refuse_length(self, what: str, length: int) -> None:
        for rope in self._frozen:
            if length <= rope.limit:
                continue
            if rope.kind == "dynamic":
                raise UnsupportedModelError(
                    f"{what} would hold {length} tokens: dynamic RoPE changes its frequencies past {rope.limit}, "
                    "and keys that are in the cache cannot follow"
                )
        raise ContextLengthError(what, length, self.max_length or 0, self.limit_reason)

    @contextmanager
    def _switched_on(self) -> Iterator[None]:
        """Route attention to us, with frequencies held still. Everything is put back, so plain calls stay plain."""
        before = self.config._attn_implementation
        if before != IMPLEMENTATION:  # else a Ctrl-C came in the last lines here
            self._implementation = before
        with frozen(self._frozen):
            self.config._attn_implementation = IMPLEMENTATION
            try:
                yield
            finally:
                self.config._attn_implementation = self._implementation


class _Replaying:
    """The context of `Binding.replaying`, entered by every forward: a generator's takes as long as all checks do."""

    __slots__ = ("_binding", "_plan")

    def __init__(self, binding: Binding, plan: ForwardPlan | Ahead) -> None:
        self._binding, self._plan = binding, plan

    def __enter__(self) -> None:
        binding = self._binding
        if binding._begun is not None:
            binding.settle()
        if binding._running is not None and binding._running.is_open:  # else a Ctrl-C left it at a bad moment
            raise HogwildError(_ANOTHER)
        binding._check(self._plan)
        binding._running = self._plan

    def __exit__(self, *exc_info: object) -> None:
        self._binding._running = None


@dataclass
class _Begun:
    """A forward between its hooks."""

    stack: ExitStack
    plan: ForwardPlan
    frame: FrameType
    caller: FrameType | None  # where PyTorch calls hooks after a failure
    thread: int

    def is_live(self) -> bool:
        """Whether the module's call is still on its thread's stack."""
        frame = sys._current_frames().get(self.thread)
        while frame is not None and frame is not self.frame:
            frame = frame.f_back
        return frame is not None


def text_config(model: PreTrainedModel) -> PreTrainedConfig:
    """The configuration of the model's text decoder."""
    return model.config.get_text_config(decoder=True)


def _refuse(model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """What can be told without a forward."""
    name = type(model).__name__
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"{name} is an encoder-decoder model: only decoders share a cache of this kind"
        )
    if model.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UnsupportedModelError(f"{name} is in {model.dtype}: expected float32, bfloat16 or float16")
    for kind in sorted(set(getattr(config, "layer_types", None) or ()) & _UNSHARED.keys()):
        raise UnsupportedModelError(f"{name} has layers of type {kind}: {_UNSHARED[kind]}")
    if config.model_type == "deepseek_v4":
        raise UnsupportedModelError(
            f"{name} uses rotated keys as values too: in another place they would be other values"
        )
    for module in model.modules():
        if getattr(module, "is_causal", None) is False and hasattr(module, "layer_idx"):
            raise UnsupportedModelError(f"{name} attends in both directions ({type(module).__name__})")
    scaled = _scales_by_position(config)
    if scaled:
        raise UnsupportedModelError(
            f"{name} scales queries by their absolute position ({scaled}): blocks store keys at block-local positions"
        )


def _scales_by_position(config: PreTrainedConfig) -> str:
    """The setting by which a model scales queries by absolute position, which shows only at far positions."""
    if getattr(config, "attn_temperature_tuning", False):
        return "attn_temperature_tuning"
    parameters = getattr(config, "rope_parameters", None) or {}
    return "llama_4_scaling_beta" if parameters.get("llama_4_scaling_beta") else ""
