"""One protocol at work: its blocks, its samplers, and where it stands in its feeds."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from hogwild.cache import BlockSet
from hogwild.engine.batch_sampler import Outcome, Request
from hogwild.engine.checks import check_integer
from hogwild.engine.events import Event, FinishEvent, StartEvent
from hogwild.engine.feed import Feed, Result
from hogwild.engine.interrupts import defer_interrupts, is_interrupt
from hogwild.engine.prefixes import PrefixCache
from hogwild.engine.protocol import Protocol
from hogwild.engine.rows import Row, check_feeds, cut_rows, renewed, tokens_that_follow
from hogwild.engine.sampler import Sampler
from hogwild.engine.sampling import SamplingParams
from hogwild.engine.shared_prompts import SharedPrompts
from hogwild.errors import HogwildError, PoolExhausted

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Last(NamedTuple):
    """What a session wrote last, where that was one token a feed, and all of them in one forward.

    Attributes:
        feeds, rows, results: one and the same number of them.
        dropped: what `blocks.dropped` was.
    """

    feeds: list[Feed]
    rows: list[Row]
    results: list[Result]
    dropped: int


class Session:
    """A running protocol and what the engine keeps for it. `EngineCore.open` makes one; leaving it closes it.

    Attributes:
        name: what errors call it.
        protocol: the protocol that runs.
        blocks: its blocks, by name.
        forwards: forwards that it took part in.
        tokens: tokens that its workers have sampled.
        left_out: forwards in a row that had no room for its rows.
        limit: most tokens that its views may hold: the model's positions, or fewer where the protocol says so.
        error: what ended it, if an error did; the blocks are then as they were before the failed forward.
        finish: its last event, once it has ended.
    """

    def __init__(
        self,
        name: str,
        protocol: Protocol,
        blocks: BlockSet,
        *,
        max_forward_tokens: int = 1024,
        vocab_size: int | None = None,
        positions: int | None = None,
        model: str = "",
        version: str = "",
        prefixes: PrefixCache | None = None,
    ) -> None:
        self.name, self.protocol, self.blocks = name, protocol, blocks
        self.forwards, self.tokens, self.left_out = 0, 0, 0
        if protocol.max_length is not None:
            check_integer(f"max_length of protocol {protocol.name!r}", protocol.max_length, minimum=1)
        limits = [most for most in (positions, protocol.max_length) if most is not None]
        self.limit: float = min(limits, default=math.inf)
        self.error: BaseException | None = None
        self.finish: FinishEvent | None = None
        self._max_forward_tokens, self._vocab_size = max_forward_tokens, vocab_size
        self._samplers: dict[str, Sampler] = {}
        self._feeds: list[Feed] = []
        self._results: list[Result] = []
        self._rows: deque[list[Row]] = deque()  # of the forwards that the current feeds still need
        self._last: _Last | None = None  # what was written last, where it may go on
        self._following: list[tuple[int, ...]] | None = (
            None  # tokens of feeds that are the last ones but for these
        )
        self._half_written = False  # whether a forward has written a part of them
        self._shared = SharedPrompts(blocks, prefixes)
        self._events: list[Event] = []
        self._ended = self._closed = False
        self._begun = False
        self._undelivered = self._unheard = False  # whether `receive` or `listen` is to be called again
        self._listens = getattr(protocol.listen, "__func__", None) is not Protocol.listen
        self._opened = time.perf_counter()
        try:
            self._emit(
                dataclasses.replace(event, model=model, version=version)
                if isinstance(event, StartEvent)
                else event
                for event in self._listed(protocol.begin(blocks), Event)
            )
            self._begun = True
            self._end_if_finished()
        except BaseException:
            self.detach()  # the blocks are still those of who has given them
            raise

    def __repr__(self) -> str:
        state = "closed" if self._closed else "finished" if self._ended else "running"
        return f"Session({self.name!r}, {self.protocol.name}, {state}, {self.forwards} forwards)"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def finished(self) -> bool:
        """Whether it has ended: by its protocol, an error, `cancel` or `close`."""
        return self._ended

    @property
    def closed(self) -> bool:
        """Whether its pages have been given back."""
        return self._closed

    @property
    def has_events(self) -> bool:
        """Whether `take_events` would give any."""
        return bool(self._events)

    @property
    def undelivered(self) -> bool:
        """Whether results or messages wait for room in the pool that the protocol needs to take them."""
        return self._undelivered or self._unheard

    @property
    def between_feeds(self) -> bool:
        """Whether the protocol has all results of what was written: `call` may be used."""
        return not (self._half_written or self._undelivered or self._unheard)

    @property
    def unwritten(self) -> list[Row]:
        """All that the current feeds have still to write, in one forward or several."""
        self._renew()
        return [row for rows in self._rows for row in rows]

    @property
    def takes_more(self) -> bool:
        """Whether the current feeds take forwards behind the next one."""
        return len(self._rows) > 1

    def too_long_later(self) -> tuple[int, Row] | None:
        """The first row of a forward behind the next one whose view would hold more than `limit` tokens then.

        Returns:
            The tokens of that view, and the row; None where there is none. Guests are not looked at.
        """
        more: Counter[str] = Counter()  # tokens that are written to a block until then
        for number, rows in enumerate(self._rows):
            for row in rows:
                more[row.view.write_to] += len(row.tokens)
            for row in rows if number else ():
                length = sum(len(self.blocks[name]) + more[name] for name in row.view.blocks)
                if length > self.limit and not row.guest:
                    return length, row
        return None

    def take_events(self) -> list[Event]:
        """Events since the last call."""
        events, self._events = self._events, []
        return events

    def sampler_states(self) -> dict[str, dict[str, Any]]:
        """Where each worker's random draws and text stand, as JSON values."""
        return {worker: sampler.state() for worker, sampler in self._samplers.items()}

    def load_sampler_states(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on where `sampler_states` were taken; for a session that has not sampled yet."""
        for worker, state in states.items():
            self.sampler(worker).load_state(state)

    def cancel(self) -> None:
        """End it now; nothing happens if it has ended already. Its blocks stay until `close`."""
        self._end("cancelled")

    def close(self) -> None:
        """End it, if it runs, and give its pages back. May be called again."""
        if not self._closed:
            try:
                self.detach()
            finally:
                self.blocks.free()

    def detach(self) -> None:
        """End it, if it runs, and leave its blocks alone."""
        self._closed = True
        try:
            self._end("cancelled")
        finally:
            self.forget_prefixes()

    def next_rows(self) -> list[Row]:
        """Rows of the next forward; empty while the protocol waits. The same until `complete`, `fail` or `hear`."""
        self._go_on(True)
        self._renew()
        return self._rows[0] if self._rows else []

    def outline(self, listening: bool = True) -> list[Row]:
        """`next_rows`, but for the tokens: where they go and how many they are. For who looks for room.

        Args:
            listening: whether the protocol hears what came from outside, before it is asked for new feeds. It may
                change its blocks then, so not while they are parked.
        """
        self._go_on(listening)
        return self._rows[0] if self._rows else []

    def next_tokens(self) -> list[tuple[int, ...]] | None:
        """The tokens of `next_rows`, where these are the last forward's but for one token each, on the same views.

        None otherwise; also where there are no rows.
        """
        self._go_on(True)
        if not self._rows or self._last is None or self._last.dropped != self.blocks.dropped:
            return None
        return self._following

    def plain_tokens(self) -> torch.Tensor | None:
        """The protocol's `plain_tokens`, while the forward of `next_rows` is computed; none where it may not go on so.

        Raises:
            Exception: the protocol fails to say.
        """
        rows, feeds = self._rows, self._feeds
        if len(rows) != 1 or not (self._following is not None or _are_single(feeds, rows[0])):
            return None
        if not all(feed.sample for feed in feeds) or self.has_messages:
            return None
        found = self.protocol.plain_tokens()
        if found is not None and not _is_mask(found):
            raise TypeError(f"plain_tokens: expected a tensor [V] of bool on the CPU, got {found!r}")
        return found

    def _go_on(self, listening: bool) -> None:
        """Have the protocol take what is there and say what it feeds, if it has not."""
        if self._undelivered:
            with defer_interrupts():
                self._deliver()
        if self._rows:
            return
        if listening and not self._ended:
            if self._listens:
                with defer_interrupts():
                    self._listen()
            else:
                self._end_if_finished()
        if not self._ended:
            self._ask()

    def _ask(self) -> None:
        """Take the protocol's next feeds, and cut them into rows."""
        feeds = self._listed(self.protocol.feeds(), Feed)
        self._following = None
        last = self._last
        if last is not None:
            self._following = tokens_that_follow(last.feeds, feeds, self._vocab_size)
            if self._following is not None:
                self._feeds, self._results = feeds, last.results.copy()
                self._shared.forget_feeds()
                self._rows.append(last.rows)  # right but for the tokens
                return
        check_feeds(feeds, self.protocol.workers, self._vocab_size)
        for feed in feeds:
            self.blocks.view(feed.view)  # blocks that are not there are told before anything is written
        self._feeds = feeds
        self._results = [Result(feed.worker) for feed in feeds]
        self._rows = self._cut(feeds)
        self._shared.begin(feeds)

    def _cut(self, feeds: Sequence[Feed]) -> deque[list[Row]]:
        """The rows of each forward that `feeds` take."""
        return self._without_left_out(cut_rows(feeds, self._max_forward_tokens))

    def _without_left_out(self, forwards: Iterable[list[Row]]) -> deque[list[Row]]:
        kept = ([row for row in rows if not self._results[row.feed].left_out] for rows in forwards)
        return deque(rows for rows in kept if rows)

    def leave_out_guests(self) -> bool:
        """Ask nothing of what guests ask in `next_rows` or later, as there is no room for it; whether anything was.

        Guests that sample stay: a worker goes on with them. If nothing else is to be written, the results are handed
        over before the next forward.
        """
        self._renew()
        left = {
            row.feed for rows in self._rows for row in rows if row.guest and not self._feeds[row.feed].sample
        }
        self._shared.leave_out(left)
        for index in left:
            self._results[index] = Result(self._feeds[index].worker, left_out=True)
        if left:
            self._following = None
            self._rows = self._without_left_out(self._rows)
            if not self._rows:
                self._half_written, self._undelivered = False, True
        return bool(left)

    def _renew(self) -> None:
        """Give rows that are taken from the last forward the tokens of this one."""
        if self._rows and self._last is not None and self._rows[0] is self._last.rows:
            self._rows[0] = renewed(self._rows[0], self._feeds)

    def skip_written(self) -> bool:
        """Take over what other sessions have written of the same prompts; whether there was any.

        `next_rows` are then only the rest. To be called before a forward that this session takes part in.
        """
        if not self._shared.alone or self._half_written:
            return False
        for place in self._shared.alone:
            with defer_interrupts():
                if self._shared.take_over(place, self._feeds[place].tokens):
                    self._rows = self._cut(self._shared.without_taken(self._feeds))
        return bool(self._shared.taken)

    def put_back(self) -> None:
        """Undo `skip_written`, if no forward has followed it."""
        if self._shared.put_back():
            self._rows = self._cut(self._feeds)

    def forget_prefixes(self) -> None:
        """Keep no pages for the sake of others."""
        self._shared.release()

    def sampler(self, worker: str) -> Sampler:
        """The worker's sampler, made when it first samples."""
        sampler = self._samplers.get(worker)
        if sampler is None:
            index = list(self.protocol.workers).index(worker)
            params = self.protocol.sampling(worker)
            if not isinstance(params, SamplingParams):
                raise TypeError(f"sampling of worker {worker!r}: expected SamplingParams, got {params!r}")
            if self._vocab_size is not None:
                params.check_vocabulary(self._vocab_size)
            sampler = self._samplers[worker] = Sampler(params, index)
        return sampler

    def request(self, row: Row) -> Request:
        """What `row` wants of its logits.

        Raises:
            Exception: the protocol has no settings for the worker.
        """
        if not row.sample:
            return Request(None, (), row.probe, row.entropy)
        return Request(self.sampler(row.worker), self._feeds[row.feed].tokens, row.probe, row.entropy)

    def complete(self, outcomes: Sequence[Outcome | None]) -> None:
        """Take note that the forward of `next_rows` is committed.

        Args:
            outcomes: what came of each row; None for rows that do not ask for logits.

        Whatever the protocol raises ends the session; what is not an ordinary exception is also passed on.
        `PoolExhausted` is only passed on, and the results are handed over again before the next forward.
        """
        rows = self._rows.popleft()
        if self._shared.alone:
            self._shared.settle({row.feed for row in rows})
        self._half_written = bool(self._rows)
        self.forwards += 1
        feeds, results, samplers = self._feeds, self._results, self._samplers
        if self._following is not None or (not self._rows and _are_single(feeds, rows)):
            self._last = _Last(feeds, rows, results, self.blocks.dropped)
        else:
            self._last = None
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome is None:
                continue
            index, worker = row.feed, row.worker
            _, token, logprob, probe, entropy, _ = outcome
            results[index] = Result(worker, token, logprob, probe, entropy)
            if row.sample:
                self.tokens += 1
                samplers[worker].accept(feeds[index].tokens)
        if not self._rows:
            self._deliver()

    def call(self, function: Callable[[Session], _T]) -> _T:
        """Let `function` look at this session and change it, between two feeds.

        It may call methods of the protocol, which may then say something else in `feeds`, move, crop and fork
        blocks, `emit` events, and set the protocol's `finish_reason`.

        Raises:
            HogwildError: the session has ended, or `between_feeds` is False.
            Exception: what `function` raises; the session goes on.
        """
        if self._ended:
            raise HogwildError(f"{self.name}: it has ended")
        if not self.between_feeds:
            raise HogwildError(f"{self.name}: it is in the middle of its feeds")
        self._forget_rows()
        try:
            return function(self)
        finally:
            self._rows.clear()  # nothing of them is written: the protocol is asked again
            if not self._ended:
                self._end_if_finished()

    def emit(self, events: Iterable[Event]) -> None:
        """Tell events outside of the protocol's own, from within `call`."""
        self._emit(events)

    @property
    def has_messages(self) -> bool:
        """Whether something came from outside that the protocol has not taken yet; it ends if it fails to say."""
        try:
            return not self._ended and self.protocol.has_messages
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.fail(error)
            return False

    def hear(self) -> None:
        """Where there is something to listen to, ask the protocol anew before the next forward."""
        if self._rows and self.between_feeds and self.has_messages:
            self._forget_rows()

    def _forget_rows(self) -> None:
        """Ask the protocol again for feeds of which nothing is written."""
        self.put_back()
        self._shared.forget_feeds()
        self._rows.clear()

    def _listen(self) -> None:
        """Let the protocol take what came from outside; tried again if a full pool prevents that."""
        self._unheard = True
        try:
            events = self.protocol.listen()
        except PoolExhausted:
            raise
        except BaseException:
            self._unheard = False
            raise
        self._unheard = False
        self._emit(events)
        self._end_if_finished()

    def _deliver(self) -> None:
        """Hand the results over; where a full pool prevents that, it is tried again before the next forward."""
        self._undelivered = True
        try:
            if events := self.protocol.receive(self._results):
                self._emit(events)
            self._end_if_finished()
        except PoolExhausted:
            raise
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise
        self._undelivered = False

    def fail(self, error: BaseException) -> None:
        """End it because of `error`."""
        self.error = error
        self.put_back()
        self._end("error", f"{type(error).__name__}: {error}")

    def _emit(self, events: Iterable[Event]) -> None:
        """Queue events, with the count of forwards and the time, which protocols leave to the session."""
        now = time.perf_counter() - self._opened
        told = []
        for event in self._listed(events, Event):
            if not isinstance(event, Event):
                raise TypeError(f"protocol {self.protocol.name!r}: expected Event objects, got {event!r}")
            told.append(event.stamped(self.forwards, now))
        self._events.extend(told)

    def _listed(self, what: Iterable[_T], kind: type[_T]) -> list[_T]:
        if not isinstance(what, Iterable):
            raise TypeError(
                f"protocol {self.protocol.name!r}: expected a list of {kind.__name__} objects, got {what!r}"
            )
        return list(what)

    def _end_if_finished(self) -> None:
        if self.protocol.finish_reason is not None:
            self._end(self.protocol.finish_reason)

    def _end(self, reason: str, message: str = "") -> None:
        if self._ended:
            return
        seconds = time.perf_counter() - self._opened
        self.finish = FinishEvent(
            reason=reason, forwards=self.forwards, tokens=self.tokens, seconds=seconds, message=message
        ).stamped(self.forwards, seconds)
        self._events.append(self.finish)
        self._ended = True
        self._undelivered = self._unheard = self._half_written = False
        self._rows.clear()
        if self._begun:  # or it is a run of somebody else
            try:
                self.protocol.stop()
            except BaseException as error:  # whoever ends a session goes on, with the others perhaps
                if is_interrupt(error):
                    raise
                _LOG.warning("%s: its protocol failed when it was told of the end", self.name, exc_info=True)


def _is_mask(found: object) -> bool:
    """Whether it can say which tokens are plain."""
    return (
        isinstance(found, torch.Tensor)
        and found.ndim == 1
        and found.dtype is torch.bool
        and found.device.type == "cpu"
    )


def _are_single(feeds: Sequence[Feed], rows: Sequence[Row]) -> bool:
    """Whether rows are feeds of one token each, none of which might be taken over from others."""
    return len(rows) == len(feeds) and all(len(feed.tokens) == 1 < len(feed.view.blocks) for feed in feeds)
