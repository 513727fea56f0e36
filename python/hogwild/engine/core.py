"""The engine: one packed forward after another over the new tokens of any number of sessions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from hogwild.cache import PAGE_SIZE, BlockSet, Pool
from hogwild.engine.batcher import Batcher
from hogwild.engine.checks import check_integer
from hogwild.engine.events import Event
from hogwild.engine.graphs import make_runner
from hogwild.engine.protocol import Protocol
from hogwild.engine.runner import Runner
from hogwild.engine.session import Session
from hogwild.errors import HogwildError, PoolExhausted, UnsupportedModelError
from hogwild.models import binding_of, enable
from hogwild_cuda.version import __version__

_E = TypeVar("_E", bound="EngineCore")


class EngineCore:
    """Runs protocols on a model. `hogwild.Engine` adds a method for each protocol of ours to it.

    Args:
        model: a loaded Hugging Face causal language model. `hogwild.enable` is called on it, unless it is
            enabled already and no `max_length` is given.
        tokenizer: its tokenizer.
        pool: where keys and values are kept; by default a new one.
        page_size, max_tokens: of the new pool, see `hogwild.cache.Pool`.
        max_forward_tokens: prompts longer than this are written in several forwards.
        max_length: longest view that is wanted, in tokens, see `hogwild.enable`; it holds for the model.
        compile: "none", "layers" or "model", what of the model small forwards compile; see
            `hogwild.engine.graphs.make_runner` for the default.
        runner: what carries forwards out, instead of one made here.

    Raises:
        UnsupportedModelError: the model cannot share a cache between workers; the message says why.
        ValueError, TypeError: an argument out of range or of the wrong type, settings of a new pool next to
            a `pool`, or `compile` next to a `runner`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        pool: Pool | None = None,
        *,
        page_size: int | None = None,
        max_tokens: int | None = None,
        max_forward_tokens: int = 1024,
        max_length: int | None = None,
        compile: str | None = None,
        runner: Runner | None = None,
    ) -> None:
        if pool is not None and (page_size is not None or max_tokens is not None):
            raise ValueError("page_size and max_tokens are settings of a new pool, but a pool was given")
        if runner is not None and compile is not None:
            raise ValueError("compile is a setting of a new runner, but a runner was given")
        check_integer("max_forward_tokens", max_forward_tokens, minimum=1)
        if max_length is not None:
            check_integer("max_length", max_length, minimum=1)
        if pool is None:
            pool = Pool(PAGE_SIZE if page_size is None else page_size, max_tokens)
        if max_length is not None or not _is_enabled(model):
            enable(model, max_length)
        self.model, self.tokenizer, self.pool = model, tokenizer, pool
        self.runner: Runner = make_runner(model, compile) if runner is None else runner
        self.max_forward_tokens = max_forward_tokens
        self._batcher = Batcher(self.runner, max_forward_tokens, binding_of(model).max_length)
        self._sessions: list[Session] = []
        self._opened = 0

    @classmethod
    def from_pretrained(
        cls: type[_E],
        name_or_path: str | os.PathLike[str],
        device: Any = None,
        dtype: Any = None,
        **options: Any,
    ) -> _E:
        """An engine on a model that is loaded by name.

        Args:
            name_or_path: `"demo"`, a Hugging Face id, or a local folder; see `hogwild.models.loading.load`.
            device, dtype: by default CUDA if there is any, in the checkpoint's own dtype.
            options: further arguments of the engine.
        """
        from hogwild.models.loading import load

        model, tokenizer = load(name_or_path, device=device, dtype=dtype)
        return cls(model, tokenizer, **options)

    # ------------------------------------------------------------------ sessions, one forward at a time

    def open(self, protocol: Protocol, name: str | None = None) -> Session:
        """A session that runs `protocol` as far as `forward` is called; close it to free its pages."""
        self._opened += 1
        session = Session(
            name or f"session {self._opened}",
            protocol,
            BlockSet(self.pool),
            max_forward_tokens=self.max_forward_tokens,
            vocab_size=self.model.get_input_embeddings().weight.shape[0],
            model=getattr(self.model.config, "name_or_path", ""),
            version=__version__,
        )
        self._sessions.append(session)
        return session

    def forward(self, sessions: Sequence[Session] | None = None) -> list[tuple[Session, list[Event]]]:
        """Run one forward over the new tokens of `sessions` (default: all open ones).

        Returns:
            The sessions that have something to tell, with their events since the last time. Empty when there
            was nothing to do: all have finished, or wait.

        A session whose view outgrows the model, whose logits are not finite or whose protocol fails ends with
        a `FinishEvent` of reason "error" and its `error` set; its blocks are as before this forward, and
        the others go on. Everything else is raised, and then no block has changed and all sessions can go on
        by another call: `PoolExhausted` before the forward, whatever the model raises, a Ctrl-C.
        (`PoolExhausted` may also come after it, when a protocol finds no room to move a block; the next call
        begins with that.)
        """
        self._sessions = [session for session in self._sessions if not session.closed]
        asked = self._sessions if sessions is None else list(sessions)
        self._batcher.forward(asked)
        told = [(session, session.take_events()) for session in asked]
        return [(session, events) for session, events in told if events]

    # ------------------------------------------------------------------ whole runs

    def stream(self, protocol: Protocol) -> Iterator[Event]:
        """Run one protocol to its end, yielding its events as they come.

        The last event is a `FinishEvent`. Closing the generator, or an exception, frees the session's pages.

        Raises:
            HogwildError, or what the protocol raised: after the `FinishEvent` of reason "error". It is a
                `PoolExhausted` where the pool has no room and no other session of the call can make any.
        """
        with self.open(protocol) as session:
            for _, event in self._drive([session]):
                yield event
            if session.error is not None:
                raise session.error

    def run(self, protocols: Sequence[Protocol]) -> Iterator[tuple[Protocol, Event]]:
        """Run several protocols side by side to their ends, in shared forwards.

        Yields each event with its protocol. A session that fails says so in its `FinishEvent`; the others go
        on. Where the pool has no room for some, they wait for pages of those that end; where it has none for
        any, the one that asked for most ends with `PoolExhausted`. Closing the generator, or an exception,
        frees the pages of all.
        """
        sessions: list[Session] = []
        try:
            for protocol in protocols:
                sessions.append(self.open(protocol))
            for session, event in self._drive(sessions):
                yield session.protocol, event
        finally:
            for session in sessions:
                session.close()

    def _drive(self, sessions: list[Session]) -> Iterator[tuple[Session, Event]]:
        while True:
            for session in sessions:
                if session.finished:
                    session.close()
                for event in session.take_events():
                    yield session, event
            if not (running := [session for session in sessions if not session.finished]):
                return
            self._advance(running)

    def _advance(self, running: list[Session]) -> None:
        """One forward of those that the pool has room for; when nobody can go on, it ends who is the reason."""
        before = [session.forwards for session in running]
        lacking = self._forward_with_room(running)
        if before != [session.forwards for session in running]:
            return
        if any(session.finished or session.has_events for session in running):
            return
        if lacking:  # who asks for most, the last of several
            session, error = max(reversed(lacking), key=lambda pair: pair[1].needed)
            session.fail(error)
        elif not any(session.next_rows() for session in running):
            for session in running:
                session.fail(
                    HogwildError(f"{session.name}: the protocol has not finished and has nothing to feed")
                )

    def _forward_with_room(self, sessions: list[Session]) -> list[tuple[Session, PoolExhausted]]:
        """A forward of all, or where the pool is too full, of each by itself; those that it is too full for."""
        try:
            self._batcher.forward(sessions)
        except PoolExhausted as error:
            if len(sessions) == 1:
                return [(sessions[0], error)]
            return [lack for session in sessions for lack in self._forward_with_room([session])]
        return []


def _is_enabled(model: Any) -> bool:
    try:
        binding_of(model)
    except (UnsupportedModelError, TypeError):  # TypeError: what is no model may not even be a key
        return False
    return True
