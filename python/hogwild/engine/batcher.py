"""One packed forward over the new tokens of several sessions: planned, run, sampled, committed, told."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from hogwild.cache import Ahead, ForwardPlan, PlanWithGuests, View
from hogwild.engine.batch_sampler import BatchSampler, Draw, Outcome, Request
from hogwild.engine.flight import Flight
from hogwild.engine.interrupts import defer_interrupts
from hogwild.engine.rows import Row
from hogwild.engine.runner import Runner, run_plan
from hogwild.engine.sampler import NoTokenLeftError
from hogwild.engine.session import Session
from hogwild.errors import ContextLengthError, NonFiniteLogitsError, PoolExhausted

__all__ = ["Batcher"]

_LOG = logging.getLogger(__name__)
_PATIENCE = 32  # forwards after a flight that nobody wanted in which none is launched


class _Item(NamedTuple):
    """One row of a forward: whose it is, what it writes, and where."""

    session: Session
    row: Row
    view: View


class _Expected(NamedTuple):
    """The forward after the last one, should all rows go on with one token.

    Attributes:
        ahead: its integers.
        sessions: that are to be asked for then.
        parts: the same, in the order of their rows; none where others may take part.
        batch: the last forward's rows: right but for the tokens.
    """

    ahead: Ahead
    sessions: list[Session]
    parts: list[Session]
    batch: list[_Item]


class Batcher:
    """Runs forwards. Which sessions take part is decided elsewhere, within a budget of tokens here.

    Args:
        runner: what carries planned forwards out.
        max_forward_tokens: a forward takes no further session once it has so many tokens, guests not counted.
        max_length: most tokens that a view may hold; None: any number.
        limit_reason: why not more, as a `ContextLengthError` says it.

    Attributes:
        flown, wasted: forwards that were computed before sessions had asked for them, and those of them that they did
            not ask for then.
    """

    def __init__(
        self, runner: Runner, max_forward_tokens: int, max_length: int | None, limit_reason: str
    ) -> None:
        self.runner, self._limit_reason = runner, limit_reason
        self._max_tokens, self._limit = max_forward_tokens, max_length
        self._sampler = BatchSampler()
        self._expected: _Expected | None = None
        self._flight: Flight | None = None
        self.flown = self.wasted = 0
        self._rest = 0  # forwards for which none is launched

    @property
    def flying(self) -> list[Session]:
        """The sessions whose next forward is being computed already, most likely; to be run by themselves."""
        flight, expected = self._flight, self._expected
        if expected is None or flight is None or flight.tokens is None:
            return []
        return [] if any(session.finished for session in expected.sessions) else expected.sessions

    def forward(self, sessions: Sequence[Session], launch: bool = True) -> None:
        """One forward over the new tokens of `sessions`; nothing if none has any.

        A session whose view outgrows the model, whose logits are not finite or whose protocol fails ends with
        its `error` set; its blocks are as before this forward, and the others go on. Everything else is raised,
        and then no block has changed: `PoolExhausted` before the forward, whatever the model raises, a Ctrl-C.
        Before a session ends because of its views, and before a `PoolExhausted` for one session alone, its guests
        are left out (`Session.leave_out_guests`).
        (`PoolExhausted` may also come after it, when a protocol finds no room to move a block; the next call
        begins with that.)

        Args:
            sessions: that take part; each once.
            launch: whether the next forward may be launched before it is asked for; not if it will be another one.
        """
        if not sessions and self.flying:
            return  # all wait, for their readers perhaps, and may come with the next call
        flight, self._flight = self._flight, None
        expected, self._expected = self._expected, None
        try:
            self._forward(sessions, launch, expected)
        finally:
            if flight is not None and flight.is_wasted:
                self.wasted += 1
                self._rest = _PATIENCE

    def _forward(self, sessions: Sequence[Session], launch: bool, expected: _Expected | None) -> None:
        ahead = None if expected is None else expected.ahead
        lightened: set[Session] = set()  # whose guests were left out: once, lest a protocol asks for ever
        while True:
            plan: ForwardPlan | PlanWithGuests | None = None
            try:
                tokens = None if expected is None else _tokens_that_follow(expected, sessions)
                if expected is not None and tokens is not None:
                    batch = expected.batch
                else:
                    batch = self._select(sessions)
                    tokens = [item.row.tokens for item in batch]
                expected = None
                if not batch:
                    break
                try:
                    with defer_interrupts():
                        plan = self._plan(batch, tokens, ahead)
                except PoolExhausted:  # in company it must not change what is asked: others may make room
                    if len(sessions) > 1 or not self._lighten(sessions[0], lightened):
                        raise
                    continue
                if not self._fail_too_long(batch, plan, lightened):
                    self._complete(batch, plan, self._run(sessions, batch, plan, launch))
                    break
                plan.rollback()  # and plan again for the others
            except BaseException:
                self._expected = None
                with defer_interrupts():
                    if plan is not None:
                        plan.rollback()
                    for session in sessions:
                        session.put_back()
                raise

    def _select(self, sessions: Sequence[Session]) -> list[_Item]:
        """Rows of the next forward, a session's side by side, but guests behind those of all sessions.

        Short ones first, so that decoding never waits for prompts; among equals, who was left out longest. Of
        those beyond the budget the one that was left out longest comes too: in the end everybody's turn comes.
        Guests count for nothing in this, so that they change nothing.
        """
        ready: list[tuple[int, Session, list[_Item]]] = []
        for session in sessions:
            if session.finished:
                continue
            try:
                rows = session.next_rows()
                if session.skip_written():
                    rows = session.next_rows()
                view_of = session.blocks.view
                items = [_Item(session, row, view_of(row.view)) for row in rows]
            except PoolExhausted:
                raise
            except Exception as error:
                session.fail(error)
                continue
            ready.append((sum([len(row.tokens) for row in rows if not row.guest]), session, items))
        if len(ready) > 1:
            ready.sort(key=lambda entry: (entry[0], -entry[1].left_out))
        batch: list[_Item] = []
        total = taken = 0
        for size, session, items in ready:
            if total >= self._max_tokens:
                break
            batch.extend(items)
            session.left_out = 0
            total += size
            taken += 1
        beyond = ready[taken:]
        longest = max((session.left_out for _, session, _ in beyond), default=0)
        for _, session, items in beyond:
            if longest and session.left_out == longest:
                batch.extend(items)
                session.left_out = longest = 0
            else:
                session.left_out += 1
        if any(item.row.guest for item in batch):
            batch.sort(key=lambda item: item.row.guest)
        return batch

    def _plan(
        self, batch: list[_Item], tokens: Sequence[tuple[int, ...]], ahead: Ahead | None
    ) -> ForwardPlan | PlanWithGuests:
        rows = [(item.view, ids) for item, ids in zip(batch, tokens, strict=True)]
        hosts = sum(not item.row.guest for item in batch)
        if 0 < hosts < len(rows):
            return PlanWithGuests(rows[:hosts], rows[hosts:])
        return ForwardPlan(rows, ahead=ahead)

    def _lighten(self, session: Session, lightened: set[Session]) -> bool:
        """Leave out the guests of a session for which there is no room otherwise; whether that may help."""
        if session in lightened:
            return False
        lightened.add(session)
        return session.leave_out_guests()

    def _fail_too_long(
        self, batch: list[_Item], plan: ForwardPlan | PlanWithGuests, lightened: set[Session]
    ) -> bool:
        """End sessions with a view of more tokens than the model has positions, or than they allow; whether any do.

        Of a prompt that takes several forwards all is counted before the first of them: no device time for what
        cannot be. Where only guests see so much, they are left out instead.
        """
        sessions = {item.session for item in batch}
        more = [session for session in sessions if session.takes_more]
        if not more and max(plan.view_lengths) <= min([session.limit for session in sessions]):
            return False
        too_long: dict[Session, tuple[int, Row]] = {}
        for session in more:
            if (later := session.too_long_later()) is not None:
                too_long[session] = later
        for (session, row, _), length in zip(
            batch, plan.view_lengths, strict=True
        ):  # guests behind all others
            if length > session.limit:
                too_long.setdefault(session, (length, row))
        for session, (length, row) in too_long.items():
            if not (row.guest and self._lighten(session, lightened)):
                what = f"{session.name}: the view of worker {row.worker!r}"
                reason = self._limit_reason
                if session.limit != self._limit:
                    reason = f"max_length of {session.protocol.name!r} is"
                session.fail(ContextLengthError(what, length, int(session.limit), reason))
        return bool(too_long)

    def _run(
        self,
        sessions: Sequence[Session],
        batch: list[_Item],
        plan: ForwardPlan | PlanWithGuests,
        launch: bool,
    ) -> list[Outcome | None]:
        """The forward and the sampling; None for rows that ask for nothing, or whose session failed."""
        wanted = [index for index, item in enumerate(batch) if item.row.needs_logits]
        # where only prompts are written, one row's logits are computed for nothing: no model expects none
        places = [plan.last_rows[index] for index in wanted] or plan.last_rows[:1]
        logits = run_plan(self.runner, plan, places)
        requests = [self._request(batch[index]) for index in wanted] or [Request(None)]
        draw = self._sampler.start(logits, requests)
        if self.runner.ahead:
            self._expect(sessions, batch, plan, draw if launch else None)
        drawn = draw()
        if self._flight is not None:
            self.flown += self._flight.land([None if one.redone else one.token for one in drawn])
        outcomes: list[Outcome | None] = [None] * len(batch)
        for index, request, outcome in zip(wanted, requests, drawn, strict=False):
            session, row, _ = batch[index]
            if session.finished:
                continue
            if not outcome.finite:
                what = f"{session.name}: the model gave NaN or infinite logits to worker {row.worker!r}"
                session.fail(NonFiniteLogitsError(what))
            elif request.sampler is not None and outcome.token is None:
                session.fail(NoTokenLeftError(request.sampler.params))
            else:
                outcomes[index] = outcome
        return outcomes

    def _expect(
        self,
        sessions: Sequence[Session],
        batch: list[_Item],
        plan: ForwardPlan | PlanWithGuests,
        draw: Draw | None,
    ) -> None:
        """While the device computes, prepare the forward in which every row goes on with one token.

        If sessions say after which tokens that is sure, it is launched as well, with what `draw` gives.
        """
        if batch[-1].row.guest or any(item.session.finished for item in batch):
            return  # the next one has no guests, most likely, and no row of who failed to say what it asks
        ahead = plan.ahead()
        if ahead is None:
            return
        self.runner.expect(ahead.integers)
        sizes = Counter([item.session for item in batch])
        parts = list(sizes)
        # whether the same sessions would be chosen again, in the same order
        if (
            parts == sorted(sessions, key=sizes.__getitem__)
            and len(batch) - sizes[parts[-1]] < self._max_tokens
        ):
            rows = [row for session in parts for row in session.next_rows()]
            batch = [item._replace(row=row) for item, row in zip(batch, rows, strict=True)]
        else:
            parts = []
        self._expected = _Expected(ahead, list(sessions), parts, batch)
        plain = [] if draw is None else self._plain_tokens(parts, sizes, ahead)
        if draw is not None and plain:
            with defer_interrupts():
                try:
                    self._flight = self.runner.launch(ahead, draw.tokens, plain)
                except Exception:  # the forward is made, and what is wrong with it told, when it is asked for
                    _LOG.debug("a forward could not be launched before it was asked for", exc_info=True)

    def _plain_tokens(
        self, parts: Sequence[Session], sizes: Mapping[Session, int], ahead: Ahead
    ) -> list[torch.Tensor]:
        """Of each row of the next forward, the tokens with which it surely comes; none if it is to be waited for."""
        if self._rest:
            self._rest -= 1
            return []
        if self._limit is not None and max(ahead.view_lengths) > self._limit:
            return []
        found: list[torch.Tensor] = []
        for session in parts:
            try:
                tokens = session.plain_tokens()
            except Exception as error:
                session.fail(error)
                return []
            if tokens is None:
                return []
            found += [tokens] * sizes[session]
        return found

    def _request(self, item: _Item) -> Request:
        """What the row asks; nothing where that cannot be told, which ends its session."""
        try:
            return item.session.request(item.row)
        except Exception as error:
            item.session.fail(error)
            return Request(None)

    def _complete(
        self, batch: list[_Item], plan: ForwardPlan | PlanWithGuests, outcomes: list[Outcome | None]
    ) -> None:
        """Commit the rows of the sessions that did not fail, and tell their protocols."""
        raised: BaseException | None = None
        with defer_interrupts():
            plan.commit([index for index, item in enumerate(batch) if not item.session.finished])
            by_session: dict[Session, list[Outcome | None]] = {}
            for item, outcome in zip(batch, outcomes, strict=True):
                by_session.setdefault(item.session, []).append(outcome)
            for session, of_it in by_session.items():
                if not session.finished:
                    try:
                        session.complete(of_it)
                    except BaseException as error:  # after the others have their results
                        raised = error
        if raised is not None:
            raise raised


def _tokens_that_follow(expected: _Expected, sessions: Sequence[Session]) -> list[tuple[int, ...]] | None:
    """The tokens of each row, if the forward is the one that is expected; else None."""
    if not expected.parts or expected.sessions != list(sessions):
        return None
    found: list[tuple[int, ...]] = []
    for session in expected.parts:
        if session.finished:
            return None
        try:
            tokens = session.next_tokens()
        except PoolExhausted:
            raise
        except Exception as error:
            session.fail(error)
            return None
        if tokens is None:
            return None
        found += tokens
    return found
