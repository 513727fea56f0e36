"""All that a run has said, and the blocks that hold it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hogwild.cache.store import BlockStore
from hogwild.engine.events import Event, RollbackEvent
from hogwild.errors import BlockError
from hogwild.prompting import StepRule
from hogwild.protocols.async_reasoning import arrangement as blocks
from hogwild.protocols.async_reasoning.modes import THINKER, WRITER
from hogwild.protocols.async_reasoning.stream import Stream


class Streams:
    """The streams of a run. Whatever changes one of them changes its block, and is told.

    Attributes:
        thinker, writer: what the two say in this turn.
        input: what stands in the block of the user's input.
        summary: that of the thoughts of a turn that is over.
        by_worker: the first two by name.
        prefilled: whether the prompts are written.
        store: the blocks, once the run has begun.
        told: events that are not out yet.
    """

    store: BlockStore

    def __init__(
        self, tokenizer: Any, rule: StepRule, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.thinker = Stream(THINKER, blocks.THOUGHTS, tokenizer, rule)
        self.writer = Stream(WRITER, blocks.ANSWER, tokenizer, rule)
        self.input = Stream("user", blocks.INPUT, tokenizer, rule)
        self.summary = Stream(THINKER, blocks.SUMMARY, tokenizer, rule)
        self.by_worker = {THINKER: self.thinker, WRITER: self.writer}
        self.prefilled = False
        self.told: list[Event] = []
        self._all = {
            "thinker": self.thinker,
            "writer": self.writer,
            "input": self.input,
            "summary": self.summary,
        }
        self._clock, self._began = clock, clock()

    @property
    def all(self) -> Iterable[Stream]:
        """Every stream."""
        return self._all.values()

    @property
    def unwritten(self) -> bool:
        """Whether something of this turn is said, but not written."""
        return bool(self.input.queue or self.thinker.queue or self.writer.queue)

    def begin(self, store: BlockStore) -> None:
        """The run begins now, with blocks in `store`."""
        self.store, self._began = store, self._clock()

    def take_told(self) -> list[Event]:
        """Events since the last call."""
        events, self.told = self.told, []
        return events

    def say(self, stream: Stream, tokens: Sequence[int], source: str) -> None:
        """Add tokens to what a stream says; they are written by the next forward that it takes part in."""
        self.told.extend(stream.say(tokens, source, self._clock() - self._began))

    def cut(self, stream: Stream, place: int) -> None:
        """Take back what a stream has said from token `place` on, also from its block."""
        dropped = stream.cut(place)
        if self.store.length(stream.block) > stream.written:
            self.store.crop(stream.block, stream.written)
        if dropped:
            text = "".join(said.text for said in dropped)
            self.told.append(RollbackEvent(worker=stream.worker, tokens=len(dropped), text=text))

    def cut_at(self, stream: Stream, texts: Sequence[str]) -> bool:
        """Take back what the stream has just said from one of `texts` on; whether it said one."""
        place = stream.find(texts)
        if place is not None:
            self.cut(stream, place)
        return place is not None

    def make_pending(self, stream: Stream) -> None:
        """A stream that is to go on needs a token to go on from: if all are written, the last one once more."""
        if not stream.queue and not stream.closed:
            stream.written -= 1
            self.store.crop(stream.block, stream.written)

    def keep_so_far(self) -> None:
        """Keep the answer up to the token that the writer would go on from, in a copy that shares its pages.

        That token may be written already, with a text that was pushed, and stays where it is.
        """
        writer = self.writer
        self.store.drop(blocks.SO_FAR)
        self.store.fork(writer.block, blocks.SO_FAR)
        self.store.crop(blocks.SO_FAR, min(writer.written, len(writer.said) - 1))

    def forget_so_far(self) -> None:
        """The doubt of the writer was measured, or is not to be."""
        self.store.clear(blocks.SO_FAR)

    def note_prefilled(self, stubs: Sequence[str]) -> None:
        """The prompts are written, with what the streams begin with; `stubs` are not needed any more."""
        self.prefilled = True
        self.input.written = len(self.input.said)
        for stream in self.by_worker.values():
            stream.written = self.store.length(stream.block)
        for stub in stubs:
            self.store.drop(stub)

    def check_blocks(self) -> None:
        """Refuse to go on with blocks that do not hold what the streams say.

        Raises:
            BlockError: one does not.
        """
        for stream in self.all if self.prefilled else ():
            if self.store.tokens(stream.block) != stream.tokens[: stream.written]:
                raise BlockError(
                    f"blocks: block {stream.block!r} does not hold what the restored run wrote to it"
                )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        said = {name: stream.to_dict() for name, stream in self._all.items()}
        return {"prefilled": self.prefilled, "said": said}

    def load_dict(self, values: dict[str, Any]) -> None:
        """Undo `to_dict`."""
        self.prefilled = values["prefilled"]
        for name, said in values["said"].items():
            self._all[name].load_dict(said)
