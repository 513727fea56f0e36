"""A running conversation: its events, and what can be said to it meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from hogwild.cache import BlockSet, load_blocks, read_note, save_blocks
from hogwild.engine.events import Event
from hogwild.engine.session import Session
from hogwild.engine.turns import Turns
from hogwild.errors import BlockError, SessionFinishedError, UnknownNameError
from hogwild.protocols.async_reasoning.modes import THINKER
from hogwild.protocols.async_reasoning.protocol import AsyncReasoningProtocol
from hogwild.protocols.async_reasoning.result import ThinkResult
from hogwild.protocols.async_reasoning.state import protocol_state, restore_protocol

if TYPE_CHECKING:
    from hogwild.engine.core import EngineCore

_FORMAT = "hogwild-think-2"  # of snapshots
_PATIENCE = 0.1  # seconds to wait for input at a time


class ThinkSession:
    """Asynchronous reasoning on an engine, forward by forward as its events are read.

    Iterate over it, with `for` or with `async for`, to run it to its end. Meanwhile any thread may `push`,
    `interrupt`, `finish` and `cancel`. With several turns it waits for the next one where an answer has ended;
    `turn` stops there instead. Sessions of one engine take turns, a forward each. When it has ended, its pages
    are free again; `close` ends it before.

    Attributes:
        protocol: the protocol that runs.
    """

    def __init__(self, engine: EngineCore, turns: Turns, session: Session) -> None:
        assert isinstance(session.protocol, AsyncReasoningProtocol)
        self.protocol: AsyncReasoningProtocol = session.protocol
        self._engine, self._turns, self._session = engine, turns, session
        self._events: deque[Event] = deque(session.take_events())
        self._ready: deque[Event] = deque()  # to be read next
        self._all: list[Event] = []  # for `result`

    @classmethod
    def open(cls, engine: EngineCore, turns: Turns, protocol: AsyncReasoningProtocol) -> ThinkSession:
        """A session of `engine` that runs `protocol`."""
        with turns:
            return cls(engine, turns, engine.open(protocol))

    def __enter__(self) -> ThinkSession:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ThinkSession({self._session!r}, mode {self.protocol.mode})"

    @property
    def finished(self) -> bool:
        """Whether it has ended; there may be events left to read."""
        return self._session.finished

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
        with self._turns:
            blocks = self._session.blocks
            tokens = [] if self._session.closed else [t for name in spec.blocks for t in blocks.tokens(name)]
        return self._engine.tokenizer.decode(tokens)

    # ------------------------------------------------------------------ from any thread

    def push(self, text: str, to: str = "input", at: str = "now") -> None:
        """Say something to it; see `AsyncReasoningProtocol.push`."""
        self._check_running()
        self.protocol.push(text, to, at)

    def interrupt(self, character: int | None = None, *, seconds: float | None = None) -> None:
        """Break the answer off; see `AsyncReasoningProtocol.interrupt`."""
        self._check_running()
        self.protocol.interrupt(character, seconds=seconds)

    def finish(self) -> None:
        """End the thoughts, then the answer; see `AsyncReasoningProtocol.finish`."""
        self._check_running()
        self.protocol.finish()

    def cancel(self) -> None:
        """End it before its next forward; nothing happens if it has ended."""
        self.protocol.cancel()

    def close(self) -> None:
        """End it, if it runs, and give its pages back. May be called again."""
        self.protocol.cancel()
        with self._turns:
            self._session.close()

    # ------------------------------------------------------------------ events

    def __iter__(self) -> Iterator[Event]:
        while True:
            while self._ready:  # one by one: who stops in the middle goes on there the next time
                yield self._ready.popleft()
            if (events := self._next_events(None)) is None:
                return
            self._ready.extend(events)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._ready:
                yield self._ready.popleft()
            if (events := await asyncio.to_thread(self._next_events, _PATIENCE)) is None:
                return
            self._ready.extend(events)

    def turn(self) -> Iterator[Event]:
        """Events up to where it waits for the user's next turn, or to its end."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            events = self._next_events(0.0)
            if events is None or (not events and self.protocol.waiting):
                return
            self._ready.extend(events)

    def result(self) -> ThinkResult:
        """Run it to its end, without waiting for a next turn; what came of it.

        Raises:
            HogwildError, or whatever ended it: after it has ended with an error.
        """
        for _ in self.turn():
            pass
        if not self.finished:
            self.finish()
            for _ in self:
                pass
        return ThinkResult.from_events(self._all)

    def _next_events(self, patience: float | None) -> list[Event] | None:
        """Events of the next forward.

        Args:
            patience: seconds to wait for input where it waits for some; None: as long as it takes.

        Returns:
            None at the end; an empty list where nothing came in time.
        """
        while True:
            with self._turns:
                events = self._take_events()
                if not events:
                    if self._session.closed:
                        return None
                    if self._session.finished:
                        self._session.close()
                        self._raise_error()
                        return None
                    self._forward()
                    events = self._take_events()
            if events:
                return events
            if self.protocol.waiting and not self.protocol.inbox.wait(patience):
                return []

    def _take_events(self) -> list[Event]:
        events = [*self._events, *self._session.take_events()]
        self._events.clear()
        self._all.extend(events)
        return events

    def _forward(self) -> None:
        for _, events in self._engine.forward([self._session]):
            self._events.extend(events)

    def _raise_error(self) -> None:
        if self._session.error is not None:
            raise self._session.error

    def _check_running(self) -> None:
        if self._session.finished:
            raise SessionFinishedError(f"{self._session.name}: the session has ended")

    # ------------------------------------------------------------------ copies

    def fork(self, seed: int | None = None) -> ThinkSession:
        """A session that goes on from here by itself, on copies of the blocks that share their pages.

        Args:
            seed: for other random draws than those of this session; None: the same, until something differs.

        Raises:
            SessionFinishedError: it has ended.
        """
        with self._turns:
            self._settle()
            state, samplers = protocol_state(self.protocol), self._session.sampler_states()
            blocks = self._session.call(lambda session: session.blocks.copy())
            return self._go_on(self._engine, self._turns, state, samplers, blocks, seed)

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to a file, for `restore`; it goes on itself.

        Raises:
            SessionFinishedError: it has ended.
            OSError: the file cannot be written.
        """
        with self._turns:
            self._settle()
            note = {
                "format": _FORMAT,
                "protocol": protocol_state(self.protocol),
                "samplers": self._session.sampler_states(),
            }
            text = json.dumps(note)
            self._session.call(
                lambda session: save_blocks(path, {n: session.blocks[n] for n in session.blocks}, note=text)
            )

    @classmethod
    def restore(
        cls,
        engine: EngineCore,
        turns: Turns,
        path: str | os.PathLike[str],
        seed: int | None = None,
    ) -> ThinkSession:
        """A session that goes on where `snapshot` was taken, on an engine with the same model.

        Raises:
            BlockError: not such a file, or one of another model or page size.
            PoolExhausted: the pool has no room for it.
        """
        note = json.loads(read_note(path) or "{}")
        if note.get("format") != _FORMAT:
            raise BlockError(
                f"path: {os.fspath(path)} holds blocks, but no session of asynchronous reasoning"
            )
        device = engine.model.get_input_embeddings().weight.device
        with turns:
            blocks = BlockSet(engine.pool)
            for name, block in load_blocks(path, engine.pool, device).items():
                blocks.put(name, block)
            return cls._go_on(engine, turns, note["protocol"], note["samplers"], blocks, seed)

    @classmethod
    def _go_on(
        cls,
        engine: EngineCore,
        turns: Turns,
        state: dict[str, Any],
        samplers: dict[str, dict[str, Any]],
        blocks: BlockSet,
        seed: int | None,
    ) -> ThinkSession:
        try:
            session = engine.open(restore_protocol(state, engine.tokenizer, seed), blocks=blocks)
        except BaseException:
            blocks.free()
            raise
        if seed is not None:
            samplers = {worker: {**values, "draws": 0} for worker, values in samplers.items()}
        session.load_sampler_states(samplers)
        return cls(engine, turns, session)

    def _settle(self) -> None:
        """Bring it to where all that was fed is written: a long prompt takes several forwards."""
        self._check_running()
        while not self._session.between_feeds:
            self._forward()
            self._check_running()
