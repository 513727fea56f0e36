"""Finding out by experiment how a model rotates queries and keys, and whether it can share a cache at all.

One token is fed at several positions while attention answers zero, so every layer sees the same hidden state
at each of them. Whatever then differs between the positions' queries and keys is the positional encoding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from hogwild.cache import Rotary
from hogwild.errors import HogwildError, UnsupportedModelError
from hogwild.models.attention import Attend, AttentionCall, LayerCall, attending

__all__ = ["Findings", "RotaryProbe", "probe", "trial_forward"]

_NEAR = (0, 7, 31)  # positions compared by rotation; the last one is compared by norm only
_ENDS = (0, -1)  # tokens of the forward whose outputs are compared
_TOLERANCE = 0.03  # relative; bf16 rounding gives 0.004, a wrong candidate about 1


class RotaryProbe:
    """An `Attend` that answers zero and keeps each layer's queries and keys."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.calls: list[LayerCall] = []

    def __call__(self, call: AttentionCall) -> torch.Tensor:
        if call.layer in self.seen:
            raise UnsupportedModelError(f"attention layer {call.layer} was called twice in one forward")
        self.seen[call.layer] = call.q.float(), call.k.float()
        self.calls.append(LayerCall(call.layer, call.window))
        return call.q.new_zeros(call.q.shape[0], call.q.shape[1], call.v.shape[2])


class Findings(NamedTuple):
    """What one forward tells of a model.

    Attributes:
        rotary: how each layer rotates its keys; None for a layer that does not.
        calls: the attention layers in the order of their calls.
        gives_logits: whether it ends in logits of every token of the vocabulary: with a language model's head.
        keeps_logits: whether it knows `logits_to_keep`; models that do not may ignore it in silence.
    """

    rotary: list[Rotary | None]
    calls: list[LayerCall]
    gives_logits: bool
    keeps_logits: bool


def probe(
    model: PreTrainedModel,
    config: PreTrainedConfig,
    inv_freqs: Sequence[torch.Tensor],
    max_length: int | None,
) -> Findings:
    """Find out how a model rotates, and what it gives.

    Args:
        model: set to our attention implementation, its rotary embeddings frozen.
        config: of the text decoder.
        inv_freqs: the frequencies that the model may use.
        max_length: longest view that is wanted.

    Raises:
        UnsupportedModelError: the model cannot share a cache; the message says why.
    """
    top = max(1, (max_length or 4096) - 1)
    positions = torch.tensor([min(p, top) for p in _NEAR] + [top])
    record = RotaryProbe()
    try:
        output = trial_forward(model, config, positions, record)
    except HogwildError:
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"{type(model).__name__} failed in a forward of {len(positions)} tokens without a mask and a cache: {error}"
        ) from error
    expected = range(config.num_hidden_layers)
    if missing := sorted(set(expected) - set(record.seen)):
        raise UnsupportedModelError(
            f"{type(model).__name__}: layers {missing} of {len(expected)} did not call the attention interface "
            "of transformers (recurrent layers, or attention of their own): their state cannot be shared by blocks"
        )
    match = _Matcher(inv_freqs, positions)
    rotary = [match(layer, *record.seen[layer]) for layer in expected]
    _check_order(model, output)
    logits: Any = getattr(output, "logits", None)
    gives_logits = (
        isinstance(logits, torch.Tensor) and logits.ndim == 3 and logits.shape[2] >= config.vocab_size
    )
    keeps_logits = gives_logits and logits.shape[1] == len(_ENDS)
    return Findings(rotary, record.calls, gives_logits, keeps_logits)


def trial_forward(
    model: PreTrainedModel, config: PreTrainedConfig, positions: torch.Tensor, attend: Attend
) -> Any:
    """One forward of the same token at each of `positions` ([n] int64), without any cache.

    Returns:
        What the model gives, with the logits of the first and the last token if it can be asked for them alone.
    """
    device = model.get_input_embeddings().weight.device
    device = torch.device("cpu") if device.type == "meta" else device
    with torch.no_grad(), attending(attend):
        return model(
            input_ids=torch.full((1, len(positions)), _token(config), device=device),
            position_ids=positions[None].to(device),
            attention_mask=None,
            past_key_values=None,
            use_cache=False,
            **({"logits_to_keep": torch.tensor(_ENDS)} if _takes(model.forward, "logits_to_keep") else {}),
        )


def _check_order(model: PreTrainedModel, output: Any) -> None:
    """Without attention, and layers that are recurrent beside it, nothing depends on what else there is."""
    found = getattr(output, "logits", None)
    found = getattr(output, "last_hidden_state", None) if found is None else found
    if not isinstance(found, torch.Tensor) or found.ndim != 3:
        return
    first, last = found[0, 0].float(), found[0, -1].float()
    if (last - first).norm() > _TOLERANCE * first.norm():
        raise UnsupportedModelError(
            f"{type(model).__name__} depends on the order of tokens by more than attention (recurrent layers?): its "
            "state cannot be shared by blocks"
        )


def _takes(forward: Callable, name: str) -> bool:
    """Whether it may be given an argument of this name."""
    parameters = inspect.signature(forward).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _token(config: PreTrainedConfig) -> int:
    """Any token but padding, whose embedding may be zero."""
    bos, eos = (getattr(config, name, None) for name in ("bos_token_id", "eos_token_id"))
    for token in (bos, eos, 1, 2):
        if (
            isinstance(token, int)
            and token != getattr(config, "pad_token_id", None)
            and token < config.vocab_size
        ):
            return token
    return 0


class _Matcher:
    """Finds the rotation that turns a layer's q and k at the first position into those at the others.

    Layers that rotate alike get the same `Rotary`, and so share one rotation table a forward.
    """

    def __init__(self, inv_freqs: Sequence[torch.Tensor], positions: torch.Tensor) -> None:
        self.inv_freqs = [inv_freq.detach().float().clone() for inv_freq in inv_freqs]
        self.positions = positions
        self.made: dict[tuple[int, bool, int, bool], Rotary] = {}

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor) -> Rotary | None:
        for x, name in ((q, "queries"), (k, "keys")):
            if not x[0].norm().isfinite() or x[0].norm() == 0:
                raise UnsupportedModelError(
                    f"layer {layer} gives {name} of norm {x[0].norm():.3g}: are the weights loaded?"
                )
        rotary = self._rotary(layer, q, k)
        self._check_far(layer, q, k)
        return rotary

    def _rotary(self, layer: int, q: torch.Tensor, k: torch.Tensor) -> Rotary | None:
        if all(torch.allclose(x[:-1], x[:1].expand_as(x[:-1])) for x in (q, k)):
            return None
        errors = {rotary: self._error(rotary, q, k) for rotary in self._candidates(q.shape[-1])}
        best = min(errors, key=errors.__getitem__, default=None)
        if best is None or not errors[best] < _TOLERANCE:
            miss = "none fits" if best is None else f"the best is off by {errors[best]:.0%}"
            raise UnsupportedModelError(
                f"layer {layer}: positions change queries and keys in a way that is no rotation by the model's "
                f"own frequencies ({len(errors)} candidates, {miss}); only rotary embeddings can be shared, and only "
                "where nothing else depends on the order of tokens"
            )
        return best

    def _candidates(self, head_dim: int) -> list[Rotary]:
        """Every frequency set, in both pairings and directions, at the head and at the tail of the head's dims."""
        result = []
        for index, inv_freq in enumerate(self.inv_freqs):
            tail = head_dim - 2 * inv_freq.numel()
            if tail < 0:
                continue
            for interleaved, start, backwards in product((False, True), sorted({0, tail}), (False, True)):
                key = (index, interleaved, start, backwards)
                if key not in self.made:
                    self.made[key] = Rotary(-inv_freq if backwards else inv_freq, interleaved, start)
                result.append(self.made[key])
        return result

    def _error(self, rotary: Rotary, *tensors: torch.Tensor) -> float:
        near = self.positions[:-1]
        misses = ((_rotated(x[:1], near, rotary) - x[:-1]).norm() / x[:-1].norm() for x in tensors)
        return max(float(miss) for miss in misses)

    def _check_far(self, layer: int, q: torch.Tensor, k: torch.Tensor) -> None:
        """At far positions fp32 angles are too coarse to compare directions, but a rotation keeps the norm."""
        for x, name in ((q, "queries"), (k, "keys")):
            change = float((x[-1].norm() / x[0].norm() - 1).abs())
            if change > _TOLERANCE:
                raise UnsupportedModelError(
                    f"layer {layer} scales its {name} by their absolute position (by {change:.0%} at position "
                    f"{int(self.positions[-1])}), but blocks store keys at block-local positions"
                )


def _rotated(x: torch.Tensor, offsets: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """x [1, heads, head_dim] rotated by each of `offsets`: [len(offsets), heads, head_dim]."""
    angle = offsets.to(x.device).double()[:, None] * rotary.inv_freq.to(x.device).double()
    cos, sin = angle.cos().float()[:, None], angle.sin().float()[:, None]
    out = x.repeat(len(offsets), 1, 1)
    part = out[..., rotary.start : rotary.start + 2 * rotary.inv_freq.numel()]
    if rotary.interleaved:
        a, b = part[..., 0::2].clone(), part[..., 1::2].clone()
        part[..., 0::2], part[..., 1::2] = a * cos - b * sin, b * cos + a * sin
    else:
        a, b = (half.clone() for half in part.chunk(2, -1))
        part.copy_(torch.cat((a * cos - b * sin, b * cos + a * sin), -1))
    return out
