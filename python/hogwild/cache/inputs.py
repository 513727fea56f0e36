"""The inputs of one forward in one piece of memory, so that they reach a device by one copy."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hogwild.cache.integers import Integers, Sizes
from hogwild.cache.rotary import Rotary

__all__ = ["MOST_ROWS", "ForwardInputs", "Metadata"]

MOST_ROWS = 256  # tokens of a forward that may want logits

_ALIGN = 4  # fields start at multiples of 16 bytes


@dataclass(frozen=True)
class Metadata:
    """Integer arguments of `torch.ops.hogwild.append` and `attention`, on one device (docs/architecture.md)."""

    slots: torch.Tensor
    block_table: torch.Tensor
    block_lens: torch.Tensor
    group_tokens: torch.Tensor
    group_blocks: torch.Tensor
    query_pos: torch.Tensor
    rotary_pos: torch.Tensor
    own_block: torch.Tensor


class ForwardInputs:
    """Room for the inputs of a forward of up to given sizes, at one place on the host and one on the device.

    A forward that is smaller is padded: its further tokens have slot -1 and see nothing, its further groups
    and blocks are empty. The tensors stay where they are, so that a CUDA graph may read them.

    Args:
        sizes: what there is room for.
        device: where the ops run. On the CPU the host's memory is the device's; for others it is pinned.

    Attributes:
        input_ids, position_ids: [T] int64 on the device.
        rows: [min(T, MOST_ROWS)] int64 on the device, packed indices of the tokens whose logits are wanted, then zeros.
        metadata: the ops' arguments on the device.
    """

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.sizes, self.device = sizes, device
        tokens, groups, blocks, columns, pages = sizes
        fields: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            **dict.fromkeys(("input_ids", "position_ids", "slots"), ((tokens,), torch.int64)),
            "rows": ((min(tokens, MOST_ROWS),), torch.int64),
            **dict.fromkeys(("group_tokens", "group_blocks"), ((groups + 1,), torch.int32)),
            **dict.fromkeys(("rotary_pos", "own_block"), ((tokens,), torch.int32)),
            "block_lens": ((blocks,), torch.int32),
            "query_pos": ((tokens, columns), torch.int32),
            "block_table": ((blocks, pages), torch.int32),  # last: on the host only what changes is written
        }
        places, total = {}, 0
        for name, (shape, dtype) in fields.items():
            words = math.prod(shape) * dtype.itemsize // 4
            places[name] = (total, words)
            total += -(-words // _ALIGN) * _ALIGN
        head = places["block_table"][0]
        with torch.inference_mode(False):  # written to in and outside of inference mode alike
            self._host = torch.zeros(total, dtype=torch.int32, pin_memory=device.type == "cuda")
            on_host = device.type == "cpu"
            self._memory = self._host if on_host else torch.zeros(total, dtype=torch.int32, device=device)

            def view(source: torch.Tensor, name: str) -> torch.Tensor:
                (begin, words), (shape, dtype) = places[name], fields[name]
                return source[begin : begin + words].view(dtype).view(shape)

            staged = torch.zeros(head, dtype=torch.int32)
            tensors = {name: view(self._memory, name) for name in fields}
        self._pinned, self._staged = self._host[:head].numpy(), staged.numpy()
        self._fields = {name: view(staged, name).numpy() for name in fields if name != "block_table"}
        self._table = view(self._host, "block_table").numpy()
        self.input_ids, self.position_ids, self.rows = (
            tensors.pop(name) for name in ("input_ids", "position_ids", "rows")
        )
        self.metadata = Metadata(**tensors)
        self._wanted: list[int] | None = None  # `rows` as they stand among the fields
        self._pages: list[list[int]] = []  # as they stand in the host's block table
        self._prepared: weakref.ref[Integers] | None = None  # weak: integers know blocks, and those a pool
        self._rotations: dict[int, torch.Tensor] = {}
        self._inv_freqs: dict[int, tuple[Rotary, torch.Tensor]] = {}  # on the device
        self._uploaded: torch.cuda.Event | None = None  # the last upload has read the host's memory

    def prepare(self, integers: Integers) -> None:
        """Do what `load` need not wait with for slots and pages. What was loaded before stays as it is."""
        self._prepared = None
        fields, tokens = self._fields, len(integers.slots)
        _put(fields["position_ids"], integers.rotary_pos, 0)
        _put(fields["rotary_pos"], integers.rotary_pos, 0)
        _put(fields["own_block"], integers.own_block, -1)
        _put(fields["block_lens"], integers.block_lens, 0)
        _put(fields["group_tokens"], integers.group_tokens, integers.group_tokens[-1])
        _put(fields["group_blocks"], integers.group_blocks, integers.group_blocks[-1])
        query_pos = fields["query_pos"]
        query_pos[:tokens, : integers.query_pos.shape[1]] = integers.query_pos
        query_pos[:tokens, integers.query_pos.shape[1] :] = -1
        query_pos[tokens:] = -1
        self._prepared = weakref.ref(integers)

    def load(self, integers: Integers, ids: Sequence[int] = (), rows: Sequence[int] = ()) -> None:
        """Put a forward in, on the host; `upload` follows.

        Args:
            integers: no larger than `sizes`.
            ids: token ids in packed order, where the model is given any.
            rows: packed indices of the tokens whose logits are wanted, at most MOST_ROWS.
        """
        if self._prepared is None or self._prepared() is not integers:
            self.prepare(integers)
        self._prepared = None
        _put(self._fields["input_ids"], ids, 0)
        if rows != self._wanted:  # mostly they are those of the last forward
            self._wanted = None
            _put(self._fields["rows"], rows, 0)
            self._wanted = list(rows)
        _put(self._fields["slots"], integers.slots, -1)
        if self._uploaded is not None and not self._uploaded.query():
            self._uploaded.synchronize()
        self._pinned[:] = self._staged
        self._write_table(integers.block_pages)
        self._rotations.clear()

    def upload(self) -> None:
        """Send what was loaded to the device, by one copy that nobody waits for."""
        if self._memory is self._host:
            return
        self._memory.copy_(self._host, non_blocking=True)
        if self.device.type == "cuda":
            if self._uploaded is None:
                self._uploaded = torch.cuda.Event()
            self._uploaded.record(torch.cuda.current_stream(self.device))

    def holds(self, pages: Sequence[list[int]]) -> bool:
        """Whether these are the pages of the blocks that were loaded last."""
        return self._pages[: len(pages)] == list(pages)

    def rotation(self, rotary: Rotary) -> torch.Tensor:
        """cos and sin of every offset of this forward for one rotary embedding, shared by the layers that use it."""
        table = self._rotations.get(id(rotary))
        if table is None:
            meta = self.metadata
            if id(rotary) not in self._inv_freqs:
                self._inv_freqs[id(rotary)] = rotary, rotary.inv_freq.to(self.device)
            _, inv_freq = self._inv_freqs[id(rotary)]
            table = torch.ops.hogwild.rotation_table(meta.query_pos, meta.rotary_pos, inv_freq)
            self._rotations[id(rotary)] = table
        return table

    def forget_rotations(self) -> None:
        """Have them computed anew, by whoever runs next."""
        self._rotations.clear()

    def _write_table(self, block_pages: Sequence[list[int]]) -> None:
        """Write what differs from the last forward's block table; a page is added once in `page_size` tokens."""
        table, known = self._table, self._pages
        if known[: len(block_pages)] == block_pages:
            return
        for index, pages in enumerate(block_pages):
            if index == len(known):
                known.append([])
            old = known[index]
            if pages == old:
                continue
            kept = len(old) if pages[: len(old)] == old else 0
            known[index] = []  # a Ctrl-C may leave this line half written
            table[index, kept : len(pages)] = pages[kept:]
            known[index] = list(pages)


def _put(target: np.ndarray, values: Sequence[int] | np.ndarray, padding: int) -> None:
    count = len(values)
    target[:count] = values
    if count < len(target):
        target[count:] = padding
