"""Linear layers that are given the same input, computed as one matrix product.

One product of q, k and v reads the same weights as three, but starts once, and has enough columns for all
multiprocessors of a GPU where those of k and v alone do not. The model's modules stay: their parameters become
views of the joined weights, which take no further memory, and only while `JoinedProjections.active` lasts do
the modules ask for their part of the joint product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn import functional as F

__all__ = ["JoinedProjections", "find_siblings"]


class _Joined:
    """The joint product of some linear layers. The first that is asked for computes it, the last forgets it."""

    def __init__(self, layers: Sequence[torch.nn.Linear]) -> None:
        self.layers = list(layers)
        self.sizes = [layer.out_features for layer in layers]
        self.weight = _join([layer.weight for layer in layers])
        self.bias = None if layers[0].bias is None else _join([layer.bias for layer in layers])
        self.forget()

    def forget(self) -> None:
        self.input: torch.Tensor | None = None
        self.parts: tuple[torch.Tensor, ...] = ()
        self.left = 0

    def part(self, index: int, x: torch.Tensor) -> torch.Tensor:
        if self.input is not x:
            self.input, self.left = x, len(self.sizes)
            self.parts = F.linear(x, self.weight, self.bias).split(self.sizes, -1)
        result = self.parts[index]
        self.left -= 1
        if self.left == 0:
            self.forget()
        return result


class _Part:
    """What stands in for the `forward` of one layer."""

    def __init__(self, joined: _Joined, index: int) -> None:
        self.joined, self.index = joined, index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.joined.part(self.index, x)


class JoinedProjections:
    """Joins the weights of groups of linear layers; see the module's text.

    Args:
        groups: layers with one input each, as `find_siblings` gives them.
    """

    def __init__(self, groups: Sequence[Sequence[torch.nn.Linear]]) -> None:
        self._joined = [_Joined(group) for group in groups]
        self._parts = [
            (layer, _Part(joined, index))
            for joined in self._joined
            for index, layer in enumerate(joined.layers)
        ]

    def __len__(self) -> int:
        """How many products replace several."""
        return len(self._joined)

    @property
    def products(self) -> list[tuple[list[torch.nn.Linear], torch.Tensor, torch.Tensor | None]]:
        """Of each joint product its layers, weight and bias."""
        return [(joined.layers, joined.weight, joined.bias) for joined in self._joined]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this context the layers compute jointly."""
        try:
            for layer, part in self._parts:
                layer.__dict__["forward"] = part.forward
            yield
        finally:
            self._separate()

    def undo(self) -> None:
        """Give every layer weights of its own again."""
        self._separate()  # a Ctrl-C may have come while `active` ended
        for joined in self._joined:
            for layer in joined.layers:
                for parameter in layer.parameters(recurse=False):
                    parameter.data = parameter.data.clone()
        self._joined, self._parts = [], []

    def _separate(self) -> None:
        """Have the layers compute by themselves."""
        for layer, _ in self._parts:
            layer.__dict__.pop("forward", None)
        for joined in self._joined:
            joined.forget()


def find_siblings(model: torch.nn.Module, forward: Callable[[], object]) -> list[list[torch.nn.Linear]]:
    """Groups of plain linear layers of one parent that a forward gives the same input, each once.

    Args:
        model: whose layers they are.
        forward: a call of it without arguments.
    """
    calls: dict[torch.nn.Module, list[torch.Tensor]] = {}

    def record(layer: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        calls.setdefault(layer, []).append(args[0])  # kept, so that no other tensor has its id

    candidates = [
        [layer for layer in parent.children() if isinstance(layer, torch.nn.Linear) and _is_plain(layer)]
        for parent in model.modules()
    ]
    handles = [layer.register_forward_pre_hook(record) for layers in candidates for layer in layers]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    groups: list[list[torch.nn.Linear]] = []
    for layers in candidates:
        by_input: dict[tuple, list[torch.nn.Linear]] = {}
        for layer in layers:
            if len(inputs := calls.get(layer, [])) == 1:
                weight = layer.weight
                key = (id(inputs[0]), weight.dtype, weight.device, layer.bias is None)
                by_input.setdefault(key, []).append(layer)
        groups += [group for group in by_input.values() if len(group) > 1]
    return groups


def _is_plain(layer: torch.nn.Linear) -> bool:
    """Whether it is nothing but a product with weights of its own: not quantized, sharded, hooked or adapted."""
    return (
        type(layer) is torch.nn.Linear
        and all(type(p) is torch.nn.Parameter for p in layer.parameters(recurse=False))
        and layer.weight.device.type != "meta"
        and "forward" not in vars(layer)
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )


def _join(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of all rows, of which the parameters become views; the one that they are views of, if they are."""
    with torch.no_grad(), torch.inference_mode(False):
        if _are_neighbours(parameters):
            whole = (sum(map(len, parameters)), *parameters[0].shape[1:])
            return parameters[0].detach().as_strided(whole, parameters[0].stride())
        joined = torch.cat([parameter.detach() for parameter in parameters])
        begin = 0
        for parameter in parameters:
            parameter.data = joined[begin : begin + len(parameter)]
            begin += len(parameter)
    return joined


def _are_neighbours(parameters: Sequence[torch.Tensor]) -> bool:
    """Whether they lie in one piece of memory, one behind the other, as another `JoinedProjections` leaves them."""
    memory, end = parameters[0].untyped_storage().data_ptr(), parameters[0].storage_offset()
    for parameter in parameters:
        here = (parameter.untyped_storage().data_ptr(), parameter.storage_offset())
        if here != (memory, end) or not parameter.is_contiguous():
            return False
        end += parameter.numel()
    return True
