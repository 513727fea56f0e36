"""A branch of a run that is made to answer at once, on copies of the run's blocks (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hogwild.cache.store import BlockStore
from hogwild.cache.view import ViewSpec
from hogwild.engine.detokenize import Detokenizer
from hogwild.engine.feed import Feed
from hogwild.prompting import AnswerFormat


@dataclass(frozen=True)
class AnswerLimits:
    """How a forced answer is written, and where it ends.

    Attributes:
        tokenizer: of the model.
        form: the answer's format.
        max_tokens: tokens that are sampled at most.
        end_tokens: ids that end the text.
    """

    tokenizer: Any
    form: AnswerFormat
    max_tokens: int
    end_tokens: Collection[int]


class Finisher:
    """Writes the early-stop line behind what is there, and then an answer.

    Args:
        worker: its name; its draws and settings are its own, so it does not disturb any other worker.
        first: what its first forward writes. The last of these feeds ends with the early-stop line, and from
            its last token the answer goes on.
        limits: where the answer ends.

    Attributes:
        done: whether the answer is complete.
        answer: the answer; None if nothing came.
        text: what was written for it.
    """

    def __init__(self, worker: str, first: Sequence[Feed], limits: AnswerLimits) -> None:
        self.worker, self._limits = worker, limits
        self._next = [replace(feed, worker=worker, sample=False) for feed in first]
        self._next[-1] = replace(self._next[-1], sample=True)
        self._view = first[-1].view
        self._detokenizer = Detokenizer(limits.tokenizer)
        self._sampled = 0
        self.done, self.text = False, ""
        self.answer: str | None = None

    def feeds(self) -> list[Feed]:
        """What it writes next."""
        return list(self._next)

    def take(self, token: int) -> None:
        """Go on behind the sampled token."""
        self._sampled += 1
        if token not in self._limits.end_tokens:
            self.text += self._detokenizer.push(token)
            self.answer = self._limits.form.closed(self.text)
            if self.answer is None and self._sampled < self._limits.max_tokens:
                self._next = [Feed(self.worker, (token,), self._view)]
                return
        self.done = True
        if self.answer is None:
            self.answer = self._limits.form.cut(self.text)
        self.answer = self.answer or None


class Copies:
    """Blocks of a run as they are now: copies share the pages of the originals until one side writes.

    Args:
        store: the run's blocks.
        mark: what is added to the copies' names.
        fixed: names of blocks that are never written to again: they stand for themselves.
    """

    def __init__(self, store: BlockStore, mark: str, fixed: Collection[str] = ()) -> None:
        self._store, self._mark, self._fixed = store, mark, fixed
        self._names: list[str] = []

    def view(self, view: ViewSpec) -> ViewSpec:
        """The same view of the copies, which are made where they do not exist yet."""
        return ViewSpec(tuple(self._copy(name) for name in view.blocks), self._copy(view.write_to))

    def new(self, name: str) -> str:
        """An empty block beside the copies; its full name."""
        copy = self._mark_name(name)
        self._store.create(copy)
        self._names.append(copy)
        return copy

    def drop(self) -> None:
        """Free all of them."""
        while self._names:
            self._store.drop(self._names.pop())

    def _copy(self, name: str) -> str:
        if name in self._fixed:
            return name
        copy = self._mark_name(name)
        if copy not in self._names:
            self._store.fork(name, copy)
            self._names.append(copy)
        return copy

    def _mark_name(self, name: str) -> str:
        return f"{name} {self._mark}"
