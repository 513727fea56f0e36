"""Forwards with guests: rows that see the others and leave no trace in what those compute.

A matrix product of more rows may be another kernel, which rounds differently; so may whatever else works on
several rows at once. Therefore all that takes the rows' hidden states (the decoder's layers and what stands
beside them, the projection to the vocabulary) is called twice: with the hosts' rows, which is then exactly the
call of a forward without guests, and with the guests'. Nothing is asked of kernels but that the same call gives
the same result. It goes layer by layer, so that the guests see the hosts' new keys.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import MethodType
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from hogwild.errors import UnsupportedModelError
from hogwild.models.attention import AttentionCall
from hogwild.models.binding import Binding
from hogwild.models.enable import binding_of

__all__ = ["rows_apart", "why_no_guests"]

_HOSTS, _GUESTS = 2, 1  # rows of the trial

_KNOWN: weakref.WeakKeyDictionary[Binding, str | None] = weakref.WeakKeyDictionary()


@contextmanager
def rows_apart(
    model: PreTrainedModel,
    num_hosts: int,
    wanted: Sequence[int],
    is_open: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """In this context the model computes the first rows as if they were alone.

    Args:
        model: enabled by `hogwild.enable`.
        num_hosts: how many of the packed tokens come first.
        wanted: packed indices of the tokens whose logits are wanted, those of the first ones first.
        is_open: whether the forward may still run: a Ctrl-C may come in the middle of leaving this context, and what
            it leaves in the model then does nothing.
    """
    first = sum(row < num_hosts for row in wanted)
    if any(row < num_hosts for row in wanted[first:]):
        raise ValueError(f"wanted: expected the rows below {num_hosts} first, got {list(wanted)}")
    inside = True

    def is_live() -> bool:
        return inside and is_open()

    head = model.get_output_embeddings()
    stand_ins = [_Apart(module, num_hosts, is_live) for module in _pieces(model.get_decoder())]
    if head is not None:
        stand_ins.append(_Apart(head, first, is_live))
    try:
        for stand_in in stand_ins:
            stand_in.put_in()
        yield
    finally:
        inside = False
        for stand_in in stand_ins:
            stand_in.take_out()


def why_no_guests(model: PreTrainedModel) -> str | None:
    """Why an enabled model cannot compute rows apart in one forward, for the log; None if it can.

    Found out once, by a forward of a few tokens whose queries, keys and logits are compared with those of the hosts
    alone.
    """
    binding = binding_of(model)
    if binding not in _KNOWN:
        _KNOWN[binding] = _try(model, binding)
    return _KNOWN[binding]


def _try(model: PreTrainedModel, binding: Binding) -> str | None:
    alone, beside = _Record(), _Record()
    count = _HOSTS + _GUESTS
    try:
        expected = binding.trial(range(_HOSTS), alone)
        with rows_apart(model, _HOSTS, range(count)):
            logits = binding.trial(range(count), beside)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for layer, calls in alone.calls.items():
        others = beside.calls.get(layer, [])
        if [len(q) for q, _ in others] != [_HOSTS, _GUESTS]:
            return f"attention layer {layer} is not called once for each part of the rows"
        if not all(torch.equal(a, b) for a, b in zip(calls[0], others[0], strict=True)):
            return f"layer {layer} gives rows other queries and keys if it is called with more of them"
    return None if torch.equal(expected, logits[:_HOSTS]) else "rows beside others have other logits"


class _Record:
    """An `Attend` by which each token sees itself alone; keeps each layer's queries and keys."""

    def __init__(self) -> None:
        self.calls: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def __call__(self, call: AttentionCall) -> torch.Tensor:
        self.calls.setdefault(call.layer, []).append((call.q.clone(), call.k.clone()))
        heads = call.q.shape[1] // call.v.shape[1]
        return call.v.repeat_interleave(heads, 1)


def _pieces(decoder: torch.nn.Module) -> list[torch.nn.Module]:
    """The parts of a decoder that its forward calls, its layers one by one."""
    found: list[torch.nn.Module] = []
    for child in decoder.children():
        found += list(child) if isinstance(child, torch.nn.ModuleList) else [child]
    return found


class _Apart:
    """What stands in for the `forward` of a module: a call for each part of its rows.

    Rows are the second dimension of tensors [1, T, ...], among arguments and results alike.

    Args:
        module: whose.
        first: rows of the first part.
        is_live: whether there are two parts; else this is the module's own `forward`.
    """

    def __init__(self, module: torch.nn.Module, first: int, is_live: Callable[[], bool]) -> None:
        before = vars(module).get("forward")  # somebody's wrapper, or what a Ctrl-C left there
        self._before: Callable[..., Any] | None
        self._before = before._before if isinstance(before, _Apart) else before
        self._forward = self._before or MethodType(type(module).forward, module)
        self._module, self._first, self._is_live = module, first, is_live

    def put_in(self) -> None:
        self._module.__dict__["forward"] = self

    def take_out(self) -> None:
        if vars(self._module).get("forward") is not self:
            return
        if self._before is None:
            del self._module.__dict__["forward"]
        else:
            self._module.__dict__["forward"] = self._before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_live():
            return self._forward(*args, **kwargs)
        total = next((x.shape[1] for x in (*args, *kwargs.values()) if _has_rows(x)), None)
        if total is None:
            raise UnsupportedModelError("a part of the decoder takes no tensor [1, tokens, ...]")
        if total == 0:
            return self._forward(*args, **kwargs)
        results = []
        for begin, end in pairwise((0, self._first, total)):
            if begin < end:
                rows = _Rows(begin, end, total)
                results.append(self._forward(*rows.of(args), **rows.of(kwargs)))
        return results[0] if len(results) == 1 else _joined(*results)


class _Rows(NamedTuple):
    """Rows [begin, end) of `total`."""

    begin: int
    end: int
    total: int

    def of(self, values: Any) -> Any:
        """These rows of every tensor that has rows, in tuples, lists and dictionaries of any depth."""
        if isinstance(values, dict):
            return {key: self.of(value) for key, value in values.items()}
        if isinstance(values, (tuple, list)):
            return type(values)(self.of(value) for value in values)
        return values[:, self.begin : self.end] if _has_rows(values, self.total) else values


def _has_rows(x: object, count: int | None = None) -> bool:
    """Whether `x` is a tensor [1, tokens, ...], of `count` tokens if that is given."""
    return (
        isinstance(x, torch.Tensor)
        and x.ndim >= 2
        and x.shape[0] == 1
        and (count is None or x.shape[1] == count)
    )


def _joined(one: Any, other: Any) -> Any:
    """The results of two calls as one: tensors of rows one behind the other, everything else as in both."""
    if isinstance(one, (tuple, list)):
        return type(one)(_joined(a, b) for a, b in zip(one, other, strict=True))
    return torch.cat([one, other], 1) if _has_rows(one) else one
