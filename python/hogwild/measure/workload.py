"""What is measured: workers that see a long shared history and write one token each in every forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hogwild.cache import Block, Pool, make_layout
from hogwild.cache.reservation import Reservation
from hogwild.engine import Event, Feed, Protocol, Result, StartEvent

__all__ = ["HEADER", "OWN", "DecodeWorkload", "fill", "randomize"]

_ANY = torch.ones(1 << 20, dtype=torch.bool)  # more ids than any vocabulary has
HEADER, OWN = 5, 20  # tokens of each of the two headers, and of each worker's own block, at the start


class DecodeWorkload(Protocol):
    """Workers of the combined layout on a history of random keys and values, which end after some forwards.

    The first forward writes a token of each worker, and with it the layers' first pages; before the second all
    blocks are filled.

    Args:
        workers: how many.
        context: tokens of the history.
        forwards: that decode.
    """

    name = "decode"

    def __init__(self, workers: int, context: int, forwards: int) -> None:
        self.workers = [f"w{index}" for index in range(workers)]
        self._layout = make_layout("combined", self.workers)
        self._views = [self._layout.view(worker) for worker in self.workers]
        self._context, self._left = context, forwards
        self._next: dict[str, tuple[int, ...]] = dict.fromkeys(self.workers, (1,))
        self._filled = False

    def start(self, store: Any) -> list[Event]:
        self._store = store
        for name in self._layout.block_names:
            store.create(name)
        return [StartEvent(protocol=self.name, workers=list(self.workers), layout=self._layout.name)]

    def feeds(self) -> list[Feed]:
        return [Feed(w, self._next[w], v) for w, v in zip(self.workers, self._views, strict=True)]

    def plain_tokens(self) -> torch.Tensor | None:
        return _ANY if self._filled and self._left > 1 else None

    def receive(self, results: Sequence[Result]) -> list[Event]:
        if not self._filled:
            fill(self._store[self._layout.history], self._context)
            for spec in self._layout.sections:
                fill(self._store[spec.write_to], HEADER)
            for worker in self.workers:
                fill(self._store[self._layout.step_block(worker)], OWN - 1)
            self._filled = True
        else:
            self._left -= 1
        self._next = {r.worker: (r.token,) for r in results if r.token is not None}
        if self._left == 0:
            self.finish_reason = "max_forwards"
        return []


def fill(block: Block, tokens: int) -> None:
    """Make a block longer by tokens that nobody computed: what stands in the pool's memory are their keys."""
    if tokens > 0:
        Reservation(block, tokens).commit([1] * tokens)


def randomize(pool: Pool) -> None:
    """Random keys and values in all pages of a pool, whatever they held."""
    with torch.inference_mode():
        for layer in pool.layers.values():
            layer.k.normal_()
            layer.v.normal_()
