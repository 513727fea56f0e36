"""Who takes part in the next forward: continuous batching of sessions that share one pool."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from hogwild.cache import Parking, Pool
from hogwild.cache.reservation import Reservation
from hogwild.engine.batcher import Batcher
from hogwild.engine.collector import in_collector
from hogwild.engine.events import Event
from hogwild.engine.interrupts import defer_interrupts, is_interrupt
from hogwild.engine.job import Job
from hogwild.engine.mailbox import Mailbox
from hogwild.engine.rows import Row
from hogwild.engine.session import Session
from hogwild.engine.turns import Turns
from hogwild.errors import HogwildError, PoolExhausted

__all__ = ["Scheduler"]

_LOG = logging.getLogger(__name__)

TURN = 512  # forwards after which a session that waits for pages may take them from others


class Scheduler:
    """Lets jobs take part in forwards as pages and tokens allow.

    Jobs stand in a queue, in the order of their arrival. A job that needs pages takes free ones, then those of
    jobs that have nothing to do, then those of jobs behind it, whose blocks are parked in host memory until there
    is room again. A newcomer (a new job, or a parked one) needs room for all that it wants to write and a page
    for every worker that is running already; it takes pages from running jobs only when it has waited `turn`
    forwards. Then, too, whoever has been running for as long goes to the end of the queue. So the first in the
    queue always goes on, and everybody becomes the first; a job ends with `PoolExhausted` only if it has no room
    in a pool that it has to itself, even without what its guests ask.

    Args:
        batcher: runs the forwards.
        pool: where the jobs' blocks are.
        lock: held during every forward; whoever else runs forwards of the model holds it too.
        turn: see above.
    """

    def __init__(self, batcher: Batcher, pool: Pool, lock: Turns, turn: int = TURN) -> None:
        self._batcher, self._pool, self._lock, self._turn = batcher, pool, lock, turn
        self._parking = Parking(pool)
        self._jobs: list[Job] = []
        self._arrived: deque[Job] = deque()
        self._ranks = itertools.count()
        self._lacking: list[tuple[Job, PoolExhausted]] = []  # who found no room for this forward
        self._acted = False  # whether a call was made, or blocks were brought back, for this forward
        self._warned = False

    @property
    def running_here(self) -> bool:
        """Whether this thread is in the middle of a forward of the model, of whichever engine."""
        return self._lock.held

    def add(self, session: Session, mailbox: Mailbox[tuple[Job, Event]], reachable: bool) -> Job:
        """Look after a session from the next forward on. From any thread."""
        job = Job(session, next(self._ranks), mailbox, reachable)
        self._arrived.append(job)
        return job

    def forward(self) -> bool:
        """One forward of those that can take part, and all that there is to do before and after.

        Returns:
            Whether anything happened; False: all jobs wait for somebody to read, to call, or to cancel.

        An exception of the model ends the session that it belongs to: the sessions of a forward that fails are
        tried one by one. A Ctrl-C in the main thread is raised, and the next call goes on.
        """
        with self._lock:
            self._take_in()
            before = sum(job.session.forwards for job in self._jobs)
            self._acted = False
            try:
                with defer_interrupts():
                    self._attend()
                    chosen = self._choose()
                jobs = self._those_flying(chosen) or chosen
                self._run(jobs, launch=len(jobs) == len(chosen))
                happened = self._acted or before != sum(job.session.forwards for job in self._jobs)
                if not happened and not self._has_news():
                    self._fail_one()
            finally:
                with defer_interrupts():
                    told = self._tell()
            return happened or told

    def drop(self, job: Job) -> None:
        """End a job now, and free its pages. From any thread; waits for a forward that is running.

        Where the garbage collector calls, or in the middle of a forward of this thread, the next forward sees to it.
        """
        job.cancelled = True
        if self.running_here or in_collector():
            return
        with self._lock:
            self._take_in()
            with defer_interrupts():
                job.session.cancel()
                self._tell()

    def drop_all(self, error: BaseException | None = None) -> None:
        """End all jobs, because of `error` or cancelled."""
        with self._lock:
            self._take_in()
            for job in self._jobs:
                if error is None or job.session.finished:
                    job.session.cancel()
                else:
                    job.session.fail(error)
            self._tell()

    def _take_in(self) -> None:
        while self._arrived:
            self._jobs.append(self._arrived.popleft())

    # ------------------------------------------------------------------ what others want

    def _attend(self) -> None:
        """Cancel what is to be cancelled, make the calls that can be made."""
        for job in self._jobs:
            if job.cancelled:
                job.session.cancel()
            self._call(job)

    def _call(self, job: Job) -> None:
        """Make the job's calls, and let it listen, if its blocks are here and it is between two feeds."""
        if job.parked is None:
            job.session.hear()
        while job.orders and job.parked is None and job.session.between_feeds and not job.session.finished:
            function, future = job.orders.popleft()
            self._acted = True
            if future.set_running_or_notify_cancel():
                _answer(future, job.session, function)

    # ------------------------------------------------------------------ who takes part

    def _choose(self) -> list[Job]:
        """Jobs of the next forward, in their order, for all of which there are pages."""
        self._jobs.sort(key=_rank)
        self._rotate()
        self._lacking = []
        chosen: list[Job] = []
        committed = 0  # pages that they take
        closed = False  # to newcomers
        for job in self._jobs:
            tried = False  # whether its protocol was given the room that it had asked for
            while (need := self._need(job, self._pool.free_pages - committed)) is not None:
                if tried and job.session.undelivered:
                    # It undoes what it has done when it fails, and wants more in all than it says each time.
                    need = max(need, self._pool.free_pages - committed + 1)
                if closed and not job.admitted:
                    job.waited += 1
                    break
                if not self._make_room(job, committed + need, chosen):
                    closed |= job.admitted or job.waited >= self._turn
                    self._lack(job, need, chosen)
                    break
                if job.parked is not None:
                    if self._bring_back(job):
                        continue
                    self._lack(job, need, chosen)
                    break
                if not job.admitted:
                    job.admitted, job.stayed = True, 0
                if job.session.undelivered:
                    if tried and self._pool.max_pages is None:  # nobody could give it more
                        self._give_up(job, PoolExhausted(need, self._pool.free_pages, self._pool.page_size))
                    tried = True
                    continue  # now there is room for what the protocol is about to do
                chosen.append(job)
                committed += need
                job.waited = 0
                break
        return chosen

    def _need(self, job: Job, spare: int) -> int | None:
        """Free pages that the job's next rows take, or a newcomer's all; None if it has nothing to do.

        Where `spare` pages are plenty it may be a few more than they take.
        """
        session = job.session
        if session.finished:
            return None
        if job.parked is not None:
            waiting = session.undelivered or session.has_messages
            if job.orders or (waiting and not job.mailbox.full):
                return job.parked.pages_needed
            rows = [] if job.mailbox.full else self._rows(job)
            return job.parked.pages_needed + self._pages(job, rows, spare) if rows else None
        self._call(job)
        if session.finished or job.paused:
            return None
        try:
            rows = self._rows(job)
        except PoolExhausted as error:  # the protocol needs room to take its results or a message
            return error.needed
        if not rows:
            return None
        return self._pages(job, rows if job.admitted else session.unwritten, spare)

    def _rows(self, job: Job) -> list[Row]:
        """The job's next rows, but for their tokens; none where its protocol fails to say what they are."""
        try:
            return job.session.outline(listening=job.parked is None)
        except PoolExhausted:
            raise
        except BaseException as error:
            job.session.fail(error)
            if is_interrupt(error):
                raise
            return []

    def _pages(self, job: Job, rows: list[Row], spare: int) -> int:
        """Pages that writing `rows` takes; what is parked counts as if it were here, and shared with nobody."""
        pool, blocks = self._pool, job.session.blocks
        if pool.max_pages is None:
            return 0
        most = sum(2 + len(row.tokens) // pool.page_size for row in rows)
        if most <= spare and job.parked is None:
            return most
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.view.write_to] = counts.get(row.view.write_to, 0) + len(row.tokens)
        # The batcher says so when it makes a view of a block that is not there.
        written = [(blocks[name], count) for name, count in counts.items() if name in blocks]
        if job.parked is not None:
            return sum(
                pool.pages_for(len(block) + count) - pool.pages_for(len(block)) for block, count in written
            )
        needed = sum(Reservation.pages_needed(block, count) for block, count in written)
        if needed > spare:
            pool.ask_back()  # after which some pages may be the block's own, and need no copy
            needed = sum(Reservation.pages_needed(block, count) for block, count in written)
        return needed

    # ------------------------------------------------------------------ room

    def _make_room(self, job: Job, needed: int, chosen: list[Job]) -> bool:
        """Park others until `needed` pages are free; whether they are.

        A newcomer also needs a page for every worker that is running, unless its turn has come.
        """
        pool = self._pool
        if pool.max_pages is None or (job.admitted and pool.has_room(needed)):
            return True
        if needed > pool.max_pages:
            return False
        others = [other for other in self._jobs if other is not job and other.holds_pages]
        idle = [other for other in others if other not in chosen and self._is_idle(other)]
        running = [other for other in others if other not in idle]
        if not job.admitted and job.waited < self._turn:
            needed += sum(map(self._num_workers, running))
            running = []
        if pool.has_room(needed):
            return True
        behind = [other for other in running if other.rank > job.rank and other not in chosen]
        for other in (*idle, *reversed(behind)):
            if pool.free_pages >= needed:
                return True
            if not self._park(other):
                return False
        if pool.free_pages < needed:
            self._parking.squeeze()
        return pool.free_pages >= needed

    @staticmethod
    def _num_workers(job: Job) -> int:
        """How many workers it has; a job whose protocol fails to say ends."""
        try:
            return len(job.session.protocol.workers)
        except BaseException as error:
            job.session.fail(error)
            if is_interrupt(error):
                raise
            return 0

    def _is_idle(self, job: Job) -> bool:
        """Whether it has nothing to do before somebody reads or calls."""
        if job.session.finished or job.session.undelivered:
            return False
        if job.paused:
            return True
        try:
            return not (job.orders or self._rows(job))
        except PoolExhausted:  # for a message
            return False

    def _park(self, job: Job) -> bool:
        """Move the job's blocks to host memory; whether there was room for them."""
        blocks = job.session.blocks
        if not job.session.undelivered:
            with suppress(PoolExhausted):  # a message that needs room is taken when there is some
                self._rows(job)  # to listen, which it cannot when it is parked
        job.session.forget_prefixes()
        try:
            job.parked = self._parking.park([blocks[name] for name in blocks])
        except HogwildError as error:  # its own fault
            job.session.fail(error)
            return True
        except (RuntimeError, MemoryError) as error:
            if not self._warned:
                _LOG.warning("%s could not be parked in host memory: %s", job.session.name, error)
            self._warned = True
            return False
        job.admitted = False
        return True

    def _bring_back(self, job: Job) -> bool:
        """Get the job's blocks from host memory; whether there was room."""
        assert job.parked is not None
        try:
            self._parking.unpark(job.parked)
        except PoolExhausted:  # somebody with blocks of their own was faster
            return False
        except Exception as error:
            job.session.fail(error)
            return True
        self._acted = True
        job.parked = None
        job.admitted, job.stayed = True, 0
        self._call(job)
        return True

    def _lack(self, job: Job, need: int, chosen: list[Job]) -> None:
        """A job that finds no room waits for those who have it; where nobody has, it ends."""
        job.waited += 1
        pool = self._pool
        error = PoolExhausted(need, pool.free_pages, pool.page_size)
        hopeless = pool.max_pages is not None and need > pool.max_pages
        if hopeless or not (chosen or any(other.holds_pages for other in self._jobs if other is not job)):
            self._give_up(job, error)
        else:
            self._lacking.append((job, error))

    def _give_up(self, job: Job, error: PoolExhausted) -> None:
        """A job that will find no room goes on without its guests; where there are none, it ends."""
        if job.session.leave_out_guests():
            self._acted = True
        else:
            job.session.fail(error)

    def _rotate(self) -> None:
        """Where somebody has waited for a turn, who has been running for a turn goes to the end of the queue."""
        due = next((job for job in self._jobs if job.waited >= self._turn and not job.session.finished), None)
        if due is None:
            return
        ahead = [
            job for job in self._jobs if job.admitted and job.rank < due.rank and job.stayed >= self._turn
        ]
        if ahead:
            first = max(ahead, key=lambda job: job.stayed)
            first.rank, first.stayed = next(self._ranks), 0
            self._jobs.sort(key=lambda job: job.rank)

    # ------------------------------------------------------------------ the forward, and after

    def _those_flying(self, chosen: list[Job]) -> list[Job]:
        """Those whose forward is being computed already, if there are others: these come with the next one.

        They would wait for it anyway, since the device does one thing at a time.
        """
        flying = set(self._batcher.flying)
        jobs = [job for job in chosen if job.session in flying]
        return jobs if len(jobs) == len(flying) else []

    def _run(self, jobs: list[Job], launch: bool = True) -> None:
        before = [job.session.forwards for job in jobs]
        bounded = self._pool.max_pages is not None
        try:
            self._batcher.forward([job.session for job in jobs], launch)
        except PoolExhausted as error:
            if before != [job.session.forwards for job in jobs]:
                pass  # a protocol needs room to take its results: it says so again before the next forward
            elif not bounded and self._pool.max_pages is not None:
                self._acted = True  # the pool cannot grow any more: from now on there is a limit to plan with
            else:
                self._isolate(jobs, before, error)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self._isolate(jobs, before, error)
        for job in jobs:
            job.stayed += 1

    def _isolate(self, jobs: list[Job], before: list[int], error: BaseException) -> None:
        """One by one, those whose forward was not made; who is alone has caused the error."""
        left = [
            job
            for job, forwards in zip(jobs, before, strict=True)
            if job.session.forwards == forwards and not job.session.finished
        ]
        if len(jobs) == 1:
            for job in left:
                job.session.fail(error)
            return
        for job in left:
            self._run([job], launch=False)

    def _has_news(self) -> bool:
        return any(job.session.finished or job.session.has_events for job in self._jobs)

    def _fail_one(self) -> None:
        """End who keeps everybody from going on, or, where nobody is in anybody's way, who waits for nobody."""
        if self._lacking:  # all hold pages that the others need, and could not be parked
            self._give_up(*self._lacking[-1])
            return
        for job in self._jobs:
            if job.session.has_messages:  # it came just now
                continue
            if not job.reachable and not job.session.finished and not job.mailbox.full:
                name = job.session.name
                job.session.fail(
                    HogwildError(f"{name}: the protocol has not finished and has nothing to feed")
                )

    def _tell(self) -> bool:
        """Put events into mailboxes, and let go of sessions that have ended; whether there was anything."""
        told = False
        for job in list(self._jobs):
            events = job.session.take_events()
            ended = job.session.finished
            if ended:
                self._jobs.remove(job)
                self._let_go(job)
            finish = job.session.finish
            if finish is not None and not any(event is finish for event in events):  # a call took it
                events.append(finish)
            if events:
                told = True
                job.mailbox.put([(job, event) for event in events])
            if ended:  # told first: who sees that it is done finds its events
                job.finish = finish
                if job.reachable:
                    job.mailbox.end()
        return told

    def _let_go(self, job: Job) -> None:
        if job.parked is not None:
            self._parking.forget(job.parked)
            job.parked = None
        job.session.close()
        job.refuse_orders()


def _rank(job: Job) -> int:
    return job.rank


def _answer(future: Future[Any], session: Session, function: Callable[[Session], Any]) -> None:
    try:
        result = session.call(function)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
