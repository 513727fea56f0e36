"""The engine: one packed forward after another over the new tokens of any number of sessions."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from hogwild.cache import PAGE_SIZE, BlockSet, Pool
from hogwild.engine.batcher import Batcher
from hogwild.engine.checks import check_integer
from hogwild.engine.events import Event, FinishEvent
from hogwild.engine.graphs import make_runner
from hogwild.engine.handle import Handle
from hogwild.engine.interrupts import defer_interrupts
from hogwild.engine.job import Job
from hogwild.engine.mailbox import Mailbox
from hogwild.engine.prefixes import PrefixCache
from hogwild.engine.protocol import Protocol
from hogwild.engine.runner import Runner
from hogwild.engine.scheduler import Scheduler
from hogwild.engine.service import Service
from hogwild.engine.session import Session
from hogwild.engine.turns import turns_of
from hogwild.errors import BlockError, HogwildError, UnsupportedModelError
from hogwild.models import binding_of, disable, enable
from hogwild.models.compiled import COMPILE_MODES
from hogwild_cuda.version import __version__

BUFFER = 4096  # events that may wait to be read

_E = TypeVar("_E", bound="EngineCore")


class EngineCore:
    """Runs protocols on a model. `hogwild.Engine` adds a method for each protocol of ours to it.

    `submit` runs them in the background; `stream` and `run` to their ends, in the thread that iterates; `open` and
    `forward` as far as one likes. All of them may be used at once, from several threads: forwards take turns.

    Args:
        model: a loaded Hugging Face causal language model. `hogwild.enable` is called on it, unless it is
            enabled already and no `max_length` is given.
        tokenizer: its tokenizer; None, if no protocol is made here.
        pool: where keys and values are kept; by default a new one. Engines that share one do not make room for
            each other: a session that finds pages taken by another engine's ends.
        page_size, max_tokens: of the new pool, see `hogwild.cache.Pool`.
        max_forward_tokens: prompts longer than this are written in several forwards.
        max_length: longest view that is wanted, in tokens, see `hogwild.enable`; it holds for the model.
        compile: "none", "layers" or "model", what of the model small forwards compile; see
            `hogwild.engine.graphs.make_runner` for the default.
        runner: what carries forwards out, instead of one made here; engines on one model may share it.

    Raises:
        UnsupportedModelError: the model cannot share a cache between workers; the message says why.
        ValueError, TypeError: an argument out of range or of the wrong type, such as a model without a language
            model's head, settings of a new pool next to a `pool`, `compile` next to a `runner`, or a `runner` of
            another model.
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
        if compile is not None and compile not in COMPILE_MODES:
            raise ValueError(f"compile: expected one of {', '.join(COMPILE_MODES)}; got {compile!r}")
        if pool is not None and not isinstance(pool, Pool):
            raise TypeError(f"pool: expected a Pool, got {pool!r}")
        if runner is not None and not callable(getattr(runner, "run", None)):
            raise TypeError(f"runner: expected a runner, got {runner!r}")
        if getattr(runner, "model", model) is not model:
            raise ValueError("runner: it runs another model than the engine is given")
        if tokenizer is not None and not callable(getattr(tokenizer, "decode", None)):
            raise TypeError(f"tokenizer: expected a Hugging Face tokenizer or None, got {tokenizer!r}")
        check_integer("max_forward_tokens", max_forward_tokens, minimum=1)
        if max_length is not None:
            check_integer("max_length", max_length, minimum=1)
        if pool is None:
            pool = Pool(PAGE_SIZE if page_size is None else page_size, max_tokens)
        was_enabled = _is_enabled(model)
        if max_length is not None or not was_enabled:
            enable(model, max_length)
        if not binding_of(model).gives_logits:
            if not was_enabled:
                disable(model)
            raise TypeError(
                f"model: expected a causal language model, got {type(model).__name__}, which gives no logits of the "
                "vocabulary (AutoModelForCausalLM loads a model with its head)"
            )
        self.model, self.tokenizer, self.pool = model, tokenizer, pool
        self.runner: Runner = make_runner(model, compile) if runner is None else runner
        self.max_forward_tokens = max_forward_tokens
        self._prefixes = PrefixCache(pool)
        binding = binding_of(model)
        self._positions = binding.max_length
        self._batcher = Batcher(self.runner, max_forward_tokens, self._positions, binding.limit_reason)
        self._sessions: list[Session] = []  # that were opened here
        self._opening = threading.Lock()  # held to change which these are
        self._numbers = itertools.count(1)
        self._turns = turns_of(model)
        self._scheduler = Scheduler(self._batcher, pool, self._turns)
        self._service = Service(self._scheduler)
        weakref.finalize(self, self._service.close)

    @property
    def vocab_size(self) -> int:
        """How many token ids the model knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

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

    def open(self, protocol: Protocol, name: str | None = None, blocks: BlockSet | None = None) -> Session:
        """A session that runs `protocol` as far as `forward` is called; close it to free its pages.

        It belongs to the thread that drives it, and its pages are never parked.

        Args:
            protocol: what is run.
            name: what errors call the session.
            blocks: blocks that are there already, for a protocol that goes on with them. The session owns
                them from now on, unless this fails.

        Raises:
            HogwildError: the engine is closed, or the protocol object has run before.
            BlockError: `blocks` are of another pool than this engine's.
            Exception: what the protocol raises when it starts.
        """
        if blocks is not None and not isinstance(blocks, BlockSet):
            raise TypeError(f"blocks: expected a BlockSet, got {blocks!r}")
        if blocks is not None and blocks.pool is not self.pool:
            raise BlockError("blocks: expected blocks of this engine's pool")
        session = self._make_session(protocol, name, blocks)
        with defer_interrupts(), self._opening:
            if not self._service.closed:
                self._sessions = [other for other in self._sessions if not other.closed]
                self._sessions.append(session)
                return session
        session.detach()  # the engine was closed in the meantime
        if blocks is None:
            session.blocks.free()
        raise HogwildError("the engine is closed")

    def forward(self, sessions: Sequence[Session] | None = None) -> list[tuple[Session, list[Event]]]:
        """Run one forward over the new tokens of `sessions` (default: all that were opened here).

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
        with self._turns:
            if sessions is not None and not isinstance(sessions, Iterable):
                raise TypeError(f"sessions: expected a list of Session objects, got {sessions!r}")
            asked = self._opened() if sessions is None else list(sessions)
            for session in asked:
                if not isinstance(session, Session):
                    raise TypeError(f"sessions: expected Session objects, got {session!r}")
                if session.blocks.pool is not self.pool:
                    raise BlockError(f"sessions: {session.name} belongs to another engine")
            for session in asked:
                session.hear()
            self._batcher.forward(asked)
            told = [(session, session.take_events()) for session in asked]
        return [(session, events) for session, events in told if events]

    def _opened(self) -> list[Session]:
        """Sessions that were opened here and are still open; the others are forgotten."""
        with defer_interrupts(), self._opening:
            self._sessions = [session for session in self._sessions if not session.closed]
            return list(self._sessions)

    # ------------------------------------------------------------------ whole runs

    def submit(self, protocol: Protocol, name: str | None = None, *, buffer: int = BUFFER) -> Handle:
        """Run `protocol` in the background, in shared forwards with all others. From any thread.

        Forwards are run by a thread of the engine's own, which starts with the first call. Where the pool has no
        room for all, sessions wait, or are parked in host memory for a while (see `Scheduler`).

        Args:
            protocol: what is run. It is started here, and from then on belongs to the engine's thread.
            name: what errors call the session.
            buffer: events that may wait to be read, see `Handle`.

        Raises:
            HogwildError: the engine is closed, or the protocol object has run before.
            Exception: what the protocol raises when it starts.
        """
        check_integer("buffer", buffer, minimum=1)
        self._service.start()
        mailbox: Mailbox[tuple[Job, Event]] = Mailbox(buffer, self._service.wake)
        job = self._scheduler.add(self._make_session(protocol, name), mailbox, reachable=True)
        self._service.wake()
        if self._service.closed:  # in the meantime
            self._scheduler.drop(job)
        return Handle(job, mailbox, self._service, self)

    def stream(self, protocol: Protocol) -> Iterator[Event]:
        """Run one protocol to its end, yielding its events as they come.

        The last event is a `FinishEvent`. Closing the generator, or an exception, frees the session's pages.

        Raises:
            HogwildError, or what the protocol raised: after the `FinishEvent` of reason "error". It is a
                `PoolExhausted` where the pool has no room and no other session can make any.
        """
        error: BaseException | None = None
        for job, event in self._follow([protocol]):
            yield event
            error = job.session.error
        if error is not None:
            raise error

    def run(self, protocols: Sequence[Protocol]) -> Iterator[tuple[Protocol, Event]]:
        """Run several protocols side by side to their ends, in shared forwards.

        Yields each event with its protocol. A session that fails says so in its `FinishEvent`; the others go
        on. Where the pool has no room for all, some wait; one that has no room even by itself ends with
        `PoolExhausted`. Closing the generator, or an exception, frees the pages of all.
        """
        if not isinstance(protocols, Iterable):
            raise TypeError(f"protocols: expected a list of Protocol objects, got {protocols!r}")
        for job, event in self._follow(protocols):
            yield job.session.protocol, event

    def _follow(self, protocols: Sequence[Protocol]) -> Iterator[tuple[Job, Event]]:
        """Events of some protocols, run by this thread, or by the engine's own where that is at work."""
        mailbox: Mailbox[tuple[Job, Event]] = Mailbox(BUFFER, self._service.wake)
        jobs: list[Job] = []  # whose last event is still to come
        try:
            for protocol in protocols:
                jobs.append(self._scheduler.add(self._make_session(protocol), mailbox, reachable=False))
            if self._service.closed:  # in the meantime
                for job in jobs:
                    self._scheduler.drop(job)
            self._service.wake()
            while jobs:
                for job, event in mailbox.take_all():
                    if isinstance(event, FinishEvent):
                        jobs.remove(job)
                    yield job, event
                if not jobs:
                    return
                if self._service.running:
                    mailbox.wait()
                else:
                    self._scheduler.forward()
        finally:
            for job in jobs:
                self._scheduler.drop(job)
            if jobs:
                self._service.wake()  # where nobody could wait

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Cancel everything, free all pages and end the engine's thread, after the forward that runs.

        Also done when the engine is collected and when the interpreter ends. May be called again.
        """
        self._service.close()
        with self._turns:
            with defer_interrupts(), self._opening:
                opened, self._sessions = self._sessions, []
            with ExitStack() as closing:  # each of them, also where another one's protocol fails
                for session in opened:
                    closing.callback(session.close)

    def __enter__(self: _E) -> _E:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _make_session(
        self, protocol: Protocol, name: str | None = None, blocks: BlockSet | None = None
    ) -> Session:
        if self._service.closed:
            raise HogwildError("the engine is closed")
        if not isinstance(protocol, Protocol):
            raise TypeError(f"protocol: expected a Protocol, got {protocol!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name: expected text or None, got {name!r}")
        own = BlockSet(self.pool) if blocks is None else blocks
        with ExitStack() as failing:
            if blocks is None:  # others stay whose they are
                failing.callback(own.free)
            session = self._begin(protocol, name or f"session {next(self._numbers)}", own)
            failing.pop_all()
        return session

    def _begin(self, protocol: Protocol, name: str, blocks: BlockSet) -> Session:
        session = Session(
            name,
            protocol,
            blocks,
            max_forward_tokens=self.max_forward_tokens,
            vocab_size=self.vocab_size,
            positions=self._positions,
            model=getattr(self.model.config, "name_or_path", ""),
            version=__version__,
            prefixes=self._prefixes,
        )
        try:
            protocol.notify(self._service.wake)
        except BaseException:
            session.detach()
            raise
        return session


def _is_enabled(model: Any) -> bool:
    try:
        binding_of(model)
    except (UnsupportedModelError, TypeError):  # TypeError: what is no model may not even be a key
        return False
    return True
