"""Forwards of a fixed size, whose inputs and logits stay at one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hogwild.cache import Ahead, ForwardInputs, ForwardPlan, Integers, Metadata, Rotary, Sizes
from hogwild.models import Binding
from hogwild.models.compiled import ModelCall

__all__ = ["BUCKETS", "StaticForward", "padded_sizes"]

# Packed tokens. The large ones are for pieces of prompts, the last for one of 1,024 tokens beside decoding workers.
BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1152)

_FEWEST_BLOCKS = 8
_FEWEST_PAGES = {True: 512, False: 128}  # of one session, of several, whose tables are copied more often
_MOST_GROUPS = 64  # that there is room for without asking how many are needed


def padded_sizes(exact: Sizes) -> Sizes | None:
    """The sizes of the static forward that serves a forward of these; None: it has too many tokens for any.

    One session keeps a size of its own: attention begins sooner where it knows that there is only one.
    """
    tokens = next((bucket for bucket in BUCKETS if bucket >= exact.tokens), None)
    if tokens is None:
        return None
    single = exact.groups == 1
    return Sizes(
        tokens=tokens,
        groups=1 if single else min(tokens, max(_MOST_GROUPS, _power_of_two(exact.groups))),
        blocks=_power_of_two(max(exact.blocks, _FEWEST_BLOCKS)),
        columns=_power_of_two(max(exact.columns, _FEWEST_BLOCKS)),
        pages=_power_of_two(max(exact.pages, _FEWEST_PAGES[single])),
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


class StaticForward:
    """One size of forward: where its inputs are put, how it is computed, and where its logits come out.

    Args:
        call: how the model is called.
        binding: of the model.
        sizes: most of everything; what a plan has less is padding.
        device: of the whole model.
        logits: [rows, vocab] float32, if there are any of this size already.

    Attributes:
        logits: those of the wanted rows come first. None before anything was computed.
        graph: what replays `compute`, once that was captured.
    """

    def __init__(
        self,
        call: ModelCall,
        binding: Binding,
        sizes: Sizes,
        device: torch.device,
        logits: torch.Tensor | None = None,
    ) -> None:
        self.sizes, self.logits = sizes, logits
        self.graph: torch.cuda.CUDAGraph | None = None
        self._conditional: Any = None  # torch.classes.hogwild.ConditionalGraph of the same
        self._call, self._binding = call, binding
        self._inputs = _OneDevice(sizes, device)

    def prepare(self, integers: Integers) -> None:
        """Do what can be done for a plan of these integers before it is there."""
        self._inputs.memory.prepare(integers)

    def load(self, integers: Integers, ids: Sequence[int], rows: Sequence[int]) -> None:
        """Put a plan in, and send it to the device.

        Args:
            integers: of the plan.
            ids: its token ids; they may also be written to `input_ids` afterwards.
            rows: packed indices of the tokens that want logits.
        """
        self._inputs.memory.load(integers, ids, rows)
        self._inputs.memory.upload()

    @property
    def input_ids(self) -> torch.Tensor:
        """[tokens] int64 on the device."""
        return self._inputs.memory.input_ids

    def holds(self, pages: Sequence[list[int]]) -> bool:
        """Whether the blocks that were loaded have these pages."""
        return self._inputs.memory.holds(pages)

    def compute(self, plan: ForwardPlan | Ahead) -> None:
        """Run the model over what was loaded. Run twice, it writes the same keys and values to the same pages.

        Raises:
            BlockError, ContextLengthError, UnsupportedModelError: see `Binding.running`.
        """
        memory = self._inputs.memory
        memory.forget_rotations()  # a graph must hold their computation
        with torch.no_grad(), self._binding.running(plan, self._inputs):
            logits = self._call(memory.input_ids, memory.position_ids, memory.rows)
            if self.logits is None:
                with torch.inference_mode(False):
                    self.logits = torch.empty_like(logits, dtype=torch.float32)
            self.logits.copy_(logits)

    def replay(self, plan: ForwardPlan) -> None:
        """The captured `compute`, on the current stream."""
        assert self.graph is not None
        with self._binding.replaying(plan):
            self.graph.replay()

    def prepare_condition(self, condition: torch.Tensor) -> None:
        """Make what `replay_if` launches, if there is none yet.

        Args:
            condition: [1] int32 on the device; always the same.

        Raises:
            RuntimeError: the CUDA that the extension was built with, or the driver, has no conditional graphs.
        """
        if self.graph is not None and self._conditional is None:
            make = torch.classes.hogwild.ConditionalGraph
            self._conditional = make(self.graph.raw_cuda_graph(), condition)

    def replay_if(self, condition: torch.Tensor, ahead: Ahead) -> None:
        """`replay`, if the condition is not 0 when the device comes to it: nobody waits for that."""
        if self.graph is None:
            if condition.item():
                self.compute(ahead)
            return
        with self._binding.replaying(ahead):
            self._conditional.launch()


class _OneDevice:
    """The inputs of a forward whose layers are all on one device; see `hogwild.models.cache_attend.Inputs`."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.num_tokens = sizes.tokens
        self.memory = ForwardInputs(sizes, device)

    def metadata(self, device: torch.device) -> Metadata:
        self._check(device)
        return self.memory.metadata

    def rotation(self, rotary: Rotary, device: torch.device) -> torch.Tensor:
        self._check(device)
        return self.memory.rotation(rotary)

    def _check(self, device: torch.device) -> None:
        if device != self.memory.device:
            raise ValueError(f"device: the inputs are on {self.memory.device}, a layer is on {device}")
