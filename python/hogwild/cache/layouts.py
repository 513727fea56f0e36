"""The three ways to arrange workers' blocks into views (paper, section 3.2 and Appendix A), by name.

A layout is a rule over block names. It holds no tensors; sessions turn its `ViewSpec`s into views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from hogwild.cache.view import ViewSpec
from hogwild.errors import BlockError, UnknownNameError

__all__ = ["LAYOUTS", "CombinedLayout", "ContiguousLayout", "InterleavedLayout", "Layout", "make_layout"]

HISTORY = "history"
HEADER_OTHERS = "header_others"
HEADER_OWN = "header_own"


@dataclass(frozen=True)
class Layout:
    """How the views of `workers` are made of named blocks.

    Attributes:
        workers: names of the workers, in ascending order.
        name: the layout's name.
        moves_finished_steps: a finished reasoning step moves from the worker's block to the end of the history.
        history: name of the block that holds the prompt, and the finished steps where they move.
    """

    workers: tuple[str, ...]
    name: ClassVar[str]
    moves_finished_steps: ClassVar[bool]
    history: ClassVar[str] = HISTORY

    @property
    def sections(self) -> tuple[ViewSpec, ...]:
        """The fixed header blocks between the workers' text, each as the view to prefill it in, in this order."""
        return ()

    @property
    def block_names(self) -> tuple[str, ...]:
        """All blocks that the layout needs, in the order in which they are first written."""
        headers = tuple(section.write_to for section in self.sections)
        return (self.history, *headers, *(self.step_block(worker) for worker in self.workers))

    def step_block(self, worker: str) -> str:
        """Name of the block that `worker` writes to."""
        self._index(worker)
        return f"worker:{worker}"

    def others(self, worker: str) -> tuple[str, ...]:
        """Blocks of all other workers, ascending."""
        self._index(worker)
        return tuple(self.step_block(other) for other in self.workers if other != worker)

    def view(self, worker: str) -> ViewSpec:
        """What `worker` attends to."""
        view = self._views.get(worker)
        if view is None:
            raise UnknownNameError("worker", worker, self.workers)
        return view

    @cached_property
    def _views(self) -> dict[str, ViewSpec]:
        return {worker: self._view(worker) for worker in self.workers}

    def _view(self, worker: str) -> ViewSpec:
        raise NotImplementedError

    def _index(self, worker: str) -> int:
        if worker not in self.workers:
            raise UnknownNameError("worker", worker, self.workers)
        return self.workers.index(worker)


class ContiguousLayout(Layout):
    """Each worker appends to its own run: prompt, the others' runs, own run. Token-wise, as in a shared editor."""

    name = "contiguous"
    moves_finished_steps = False

    def _view(self, worker: str) -> ViewSpec:
        own = self.step_block(worker)
        return ViewSpec((self.history, *self.others(worker), own), own)


class InterleavedLayout(Layout):
    """Steps are written in private and shown when they are finished, as in a group chat."""

    name = "interleaved"
    moves_finished_steps = True

    def _view(self, worker: str) -> ViewSpec:
        own = self.step_block(worker)
        return ViewSpec((self.history, own), own)


class CombinedLayout(Layout):
    """A shared history of finished steps, then the others' unfinished steps, then the own one (the main layout)."""

    name = "combined"
    moves_finished_steps = True

    @property
    def sections(self) -> tuple[ViewSpec, ...]:
        own = ViewSpec((*self._before_others, HEADER_OWN), HEADER_OWN)
        if len(self.workers) == 1:
            return (own,)
        return (ViewSpec(self._before_others, HEADER_OTHERS), own)

    def _view(self, worker: str) -> ViewSpec:
        own = self.step_block(worker)
        return ViewSpec((*self._before_others, *self.others(worker), HEADER_OWN, own), own)

    @property
    def _before_others(self) -> tuple[str, ...]:
        return (self.history,) if len(self.workers) == 1 else (self.history, HEADER_OTHERS)


LAYOUTS: dict[str, type[Layout]] = {
    layout.name: layout for layout in (CombinedLayout, ContiguousLayout, InterleavedLayout)
}


def make_layout(name: str, workers: Sequence[str]) -> Layout:
    """The layout `name` for these workers.

    Raises:
        UnknownNameError: there is no such layout.
        BlockError: no workers, an empty name, or a name twice.
    """
    if name not in LAYOUTS:
        raise UnknownNameError("layout", name, LAYOUTS)
    if isinstance(workers, str) or not isinstance(workers, Sequence):
        raise TypeError(f"workers: expected names, got {workers!r}")
    names = tuple(workers)
    if not names or not all(isinstance(worker, str) and worker for worker in names):
        raise BlockError(f"workers: expected at least one name and no empty one, got {list(names)}")
    if len(set(names)) != len(names):
        raise BlockError(f"workers: expected different names, got {list(names)}")
    return LAYOUTS[name](names)
