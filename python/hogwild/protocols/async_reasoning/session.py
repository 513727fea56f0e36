"""A running conversation: its events, and what can be said to it meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hogwild.cache import BlockSet, load_blocks, read_note, save_blocks
from hogwild.engine.events import Event, ModeEvent
from hogwild.engine.handle import Handle
from hogwild.engine.session import Session
from hogwild.errors import BlockError, HogwildError, PoolExhausted, SessionFinishedError, UnknownNameError
from hogwild.models import binding_of
from hogwild.protocols.async_reasoning.modes import THINKER, WAITING
from hogwild.protocols.async_reasoning.policies import Policy, make_policy
from hogwild.protocols.async_reasoning.protocol import AsyncReasoningProtocol
from hogwild.protocols.async_reasoning.result import ThinkResult
from hogwild.protocols.async_reasoning.state import protocol_state, restore_protocol

if TYPE_CHECKING:
    from hogwild.engine.core import EngineCore

_AHEAD = 16  # events that may wait to be read before the session does
_FORMAT = "hogwild-think-4"  # of snapshots

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class _Mark(Event):
    """Stands behind all that a session has told until it waited for the user; nobody is shown it."""

    type: ClassVar[str] = "mark"
    number: int


class ThinkSession:
    """Asynchronous reasoning on an engine, in forwards that it shares with all that is submitted there.

    Iterate over it, with `for` or with `async for`, to follow it to its end; it goes on as its events are read, a
    few forwards ahead at most. Meanwhile any thread may `push`, `interrupt`, `finish` and `cancel`. With several
    turns it waits for the next one where an answer has ended; `turn` stops there instead. When it has ended, its
    pages are free again; `close` ends it before.

    Attributes:
        protocol: the protocol that runs.
    """

    def __init__(self, engine: EngineCore, handle: Handle) -> None:
        assert isinstance(handle.protocol, AsyncReasoningProtocol)
        self.protocol: AsyncReasoningProtocol = handle.protocol
        self._engine, self._handle = engine, handle
        self._all: list[Event] = []  # for `result`
        self._mode = ""  # as far as it was read
        self._marks = 0

    @classmethod
    def open(cls, engine: EngineCore, protocol: AsyncReasoningProtocol) -> ThinkSession:
        """A session of `engine` that runs `protocol`."""
        return cls(engine, engine.submit(protocol, buffer=_AHEAD))

    def __enter__(self) -> ThinkSession:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ThinkSession({self._handle!r}, mode {self.protocol.mode})"

    @property
    def finished(self) -> bool:
        """Whether it has ended; there may be events left to read."""
        return self._handle.finished

    @property
    def mode(self) -> str:
        """The protocol's mode."""
        return self.protocol.mode

    def view(self, worker: str) -> str:
        """Text of all that the "thinker" or the "writer" sees now; empty once the session has ended.

        Raises:
            UnknownNameError: neither of them.
        """
        if worker not in self.protocol.workers:
            raise UnknownNameError("worker", worker, self.protocol.workers)
        arrangement = self.protocol.arrangement
        spec = arrangement.thinker if worker == THINKER else arrangement.writer
        try:
            tokens = self._call(lambda run: [t for name in spec.blocks for t in run.blocks.tokens(name)])
        except SessionFinishedError:
            return ""
        return self._engine.tokenizer.decode(tokens)

    # ------------------------------------------------------------------ from any thread

    def push(self, text: str, to: str = "input", at: str = "now") -> None:
        """Say something to it; see `AsyncReasoningProtocol.push`."""
        self.protocol.push(text, to, at)

    def interrupt(self, character: int | None = None, *, seconds: float | None = None) -> None:
        """Break the answer off; see `AsyncReasoningProtocol.interrupt`."""
        self.protocol.interrupt(character, seconds=seconds)

    def finish(self) -> None:
        """End the thoughts, then the answer; see `AsyncReasoningProtocol.finish`."""
        self.protocol.finish()

    def cancel(self) -> None:
        """End it before its next forward; nothing happens if it has ended."""
        self._handle.cancel()

    def close(self) -> None:
        """End it, if it runs, and wait until its pages are free. May be called again."""
        self._handle.cancel()
        self._handle.wait()

    # ------------------------------------------------------------------ events

    def __iter__(self) -> Iterator[Event]:
        for event in self._handle:
            if self._note(event):
                yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for event in self._handle:
            if self._note(event):
                yield event

    def turn(self) -> Iterator[Event]:
        """Events up to where it waits for the user's next turn, or to its end."""
        mark = self._mark() if self._mode == WAITING else None
        for event in self._handle:
            if self._note(event):
                yield event
            elif isinstance(event, _Mark) and event.number == mark:
                return
            if isinstance(event, ModeEvent) and event.mode == WAITING:
                mark = self._mark()

    def result(self) -> ThinkResult:
        """Run it to its end, without waiting for a next turn; what came of it.

        Raises:
            HogwildError, or whatever ended it: after it has ended with an error.
        """
        for _ in self.turn():
            pass
        with suppress(SessionFinishedError):
            self.finish()
        for _ in self:
            pass
        return ThinkResult.from_events(self._all)

    def _note(self, event: Event) -> bool:
        """Take note of an event that is read; whether it is one to be shown."""
        if isinstance(event, _Mark):
            return False
        self._all.append(event)
        if isinstance(event, ModeEvent):
            self._mode = event.mode
        return True

    def _mark(self) -> int:
        """If it waits for the user, have a mark come behind its events; the mark's number in any case."""
        self._marks += 1
        number = self._marks

        def mark(run: Session) -> None:
            with suppress(PoolExhausted):  # the next turn is about to begin, and finds no room yet
                run.emit(self.protocol.listen())
                if self.protocol.mode == WAITING and not self.protocol.finished:
                    run.emit([_Mark(number=number)])

        with suppress(SessionFinishedError):
            self._call(mark)
        return number

    def _call(self, function: Callable[[Session], _T]) -> _T:
        """What `function` returns, called between two feeds.

        Raises:
            SessionFinishedError: it has ended.
        """
        try:
            return self._handle.call(function).result()
        except HogwildError as error:
            if self.protocol.inbox.closed:
                raise SessionFinishedError(f"{self._handle.name}: the session has ended") from error
            raise

    # ------------------------------------------------------------------ copies

    def fork(self, seed: int | None = None) -> ThinkSession:
        """A session that goes on from here by itself, on copies of the blocks that share their pages.

        Args:
            seed: for other random draws than those of this session; None: the same, until something differs.

        Raises:
            SessionFinishedError: it has ended.
        """

        def copy(run: Session) -> tuple[dict[str, Any], Policy, dict[str, Any], BlockSet]:
            policy = make_policy(self.protocol.policy)  # which may be of a class that has no name
            return protocol_state(self.protocol), policy, run.sampler_states(), run.blocks.copy()

        state, policy, samplers, blocks = self._call(copy)
        return self._go_on(self._engine, state, samplers, lambda: blocks, seed, policy)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to a file, for `restore`; it goes on itself.

        Raises:
            SessionFinishedError: it has ended.
            OSError: the file cannot be written.
        """

        def save(run: Session) -> None:
            note = {
                "format": _FORMAT,
                "protocol": protocol_state(self.protocol),
                "samplers": run.sampler_states(),
            }
            save_blocks(path, {name: run.blocks[name] for name in run.blocks}, note=json.dumps(note))

        self._call(save)

    @classmethod
    def restore(
        cls, engine: EngineCore, path: str | os.PathLike[str], seed: int | None = None
    ) -> ThinkSession:
        """A session that goes on where `snapshot` was taken, on an engine with the same model.

        Raises:
            UnknownNameError: its policy is none of `POLICIES`, to which those of others can be added.
            BlockError: not such a file, or one of a model of other shapes, or of another page size. Models of the
                same shapes, such as a base model and one that was trained from it, cannot be told apart.
            PoolExhausted: the pool has no room for it.
        """
        try:
            note = json.loads(read_note(path))
        except json.JSONDecodeError:
            note = None
        if not isinstance(note, dict) or note.get("format") != _FORMAT:
            raise BlockError(
                f"path: {os.fspath(path)} holds blocks, but no session of asynchronous reasoning"
            )
        device = engine.model.get_input_embeddings().weight.device

        def load() -> BlockSet:
            blocks = BlockSet(engine.pool)
            for name, block in load_blocks(path, engine.pool, device).items():
                blocks.put(name, block)
            return blocks

        try:
            return cls._go_on(engine, note["protocol"], note["samplers"], load, seed)
        except LookupError as error:
            raise BlockError(
                f"path: {os.fspath(path)} is damaged ({type(error).__name__}: {error})"
            ) from error

    @classmethod
    def _go_on(
        cls,
        engine: EngineCore,
        state: dict[str, Any],
        samplers: dict[str, dict[str, Any]],
        blocks: Callable[[], BlockSet],
        seed: int | None,
        policy: Policy | None = None,
    ) -> ThinkSession:
        """A session with blocks that are there; it feeds nothing before it has them."""
        if seed is not None:
            samplers = {worker: {**values, "draws": 0} for worker, values in samplers.items()}
        max_length = binding_of(engine.model).max_length
        protocol = restore_protocol(state, engine.tokenizer, seed, policy, max_length)
        session = cls.open(engine, protocol)

        def resume(run: Session) -> None:
            run.blocks.take_over(blocks())
            run.load_sampler_states(samplers)
            run.emit(protocol.resume())

        try:
            session._call(resume)
        except BaseException:
            session.close()
            raise
        return session
