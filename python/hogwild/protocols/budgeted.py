"""What all methods have in common that are compared at budgets of sequential forwards (paper, section 4.1)."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import torch

from hogwild.cache.store import BlockStore
from hogwild.engine.checks import check_flag, check_integer, check_kind, check_text, token_ids
from hogwild.engine.events import AnswerEvent, BudgetEvent, Event, StartEvent
from hogwild.engine.feed import Feed, Result
from hogwild.engine.protocol import Protocol
from hogwild.engine.sampling import SamplingParams
from hogwild.prompting import (
    AfterEncoder,
    AnswerFormat,
    Family,
    answer_format,
    early_line,
    family_for,
    load_family,
)
from hogwild.protocols.answers import BudgetAnswer
from hogwild.protocols.finisher import AnswerLimits, Copies, Finisher
from hogwild.protocols.plain_tokens import plain_tokens

DEFAULT_FORWARDS = 256


@dataclass
class Snapshot:
    """The state of a run at a budget, on copies of its blocks, and what is asked of it.

    Attributes:
        budgets: the budgets that it stands for; several where the run ended before them.
        forwards: sequential forwards of the run up to here.
        finishers: the branches that answer.
        copies: the blocks that they have for themselves.
        known: answers of threads that need no branch, for votes.
    """

    budgets: tuple[int, ...]
    forwards: int
    finishers: list[Finisher]
    copies: Copies
    known: tuple[str, ...] = ()


@dataclass
class _State:
    """Where a run stands between two results."""

    received: list[Event] | None = None  # of results that are not dealt with to the end yet
    operations: deque[Callable[[], None]] = field(default_factory=deque)  # on blocks, still to be done
    reason: str | None = None  # why the run itself is over; its answers may still be missing


class BudgetedProtocol(Protocol):
    """A method that runs on one problem, and says what it answers at each of several budgets.

    One run gives the whole curve. When it has taken as many sequential forwards as a budget allows, its blocks
    are forked, which copies nothing and does not disturb the run. After the run every fork is made to answer at
    once: the early-stop line, then a short answer, greedily, in forwards that no budget counts. A budget within
    which the run gave its answer needs none of that. A run that comes to the end of the model's context ends
    while there is still room for such an answer, which then counts for all budgets that are left.

    Args:
        problem: what is to be solved.
        tokenizer: a Hugging Face tokenizer.
        workers: names of those who write.
        max_forwards: sequential forwards of the run; by default the last budget, or 256.
        budgets: ascending numbers of sequential forwards, none above `max_forwards`; by default
            `max_forwards` alone.
        early_finish: answers are asked for where the run gave none. Otherwise such a budget has no answer.
        answer: format of the answers, "boxed" or "code".
        answer_tokens: length of an answer that is asked for.
        max_length: most tokens that a view may hold; None: any number.
        sampling: settings of all workers.
        end_tokens: ids that end a worker's text; the tokenizer's own is one of them anyway.
        family: prompts and conventions: a family, its name, or the path of a file; by default the one that
            suits the tokenizer.
        find_answer: gives the answer in a text, or None; by default that of the format. It is asked with each
            token, and with a line break behind a text that has ended. None as an argument: run on whatever is found.

    Attributes:
        answers: per budget, when the run has finished.
        forwards: sequential forwards so far.

    Raises:
        ValueError, TypeError, UnknownNameError: an argument is not what it should be; it is named.
    """

    _store: BlockStore
    _fixed_blocks: tuple[str, ...] = ()  # blocks that nobody writes to once there is something to answer
    _given: str | None = None  # the answer that the run itself gave

    def __init__(
        self,
        problem: str,
        tokenizer: Any,
        workers: Sequence[str],
        *,
        max_forwards: int | None = None,
        budgets: Sequence[int] = (),
        early_finish: bool = False,
        answer: str | AnswerFormat = "boxed",
        answer_tokens: int = 16,
        max_length: int | None = None,
        sampling: SamplingParams | None = None,
        end_tokens: Collection[int] = (),
        family: Family | str | None = None,
        find_answer: Callable[[str], str | None] | Literal["format"] | None = "format",
    ) -> None:
        check_text("problem", problem)
        self.budgets, self.max_forwards = _check_budgets(budgets, max_forwards)
        check_integer("answer_tokens", answer_tokens, minimum=1)
        if max_length is not None:
            check_integer("max_length", max_length, minimum=1)
        check_flag("early_finish", early_finish)
        check_kind("sampling", sampling, SamplingParams)
        if find_answer not in (None, "format") and not callable(find_answer):
            raise TypeError(f'find_answer: expected a function, "format" or None, got {find_answer!r}')
        self.problem, self.workers = problem, tuple(workers)
        self._branch_names: tuple[str, ...] = ()
        if not isinstance(family, Family):
            family = family_for(tokenizer) if family is None else load_family(family)
        self.family, self.form = family, answer_format(answer)
        self.answers: list[BudgetAnswer] = []
        self.forwards = 0
        own_end = getattr(tokenizer, "eos_token_id", None)
        self._end_tokens = {*token_ids("end_tokens", end_tokens), *(() if own_end is None else (own_end,))}
        self._tokenizer, self._sampling = tokenizer, sampling or SamplingParams()
        self._encoder = AfterEncoder(tokenizer)
        self._find_answer = self.form.find if find_answer == "format" else find_answer
        self._early_finish, self.max_length = early_finish, max_length
        self._limits = AnswerLimits(tokenizer, self.form, answer_tokens, self._end_tokens)
        self._snapshots: list[Snapshot] = []
        self._state = _State()

    # ------------------------------------------------------------------ what a method says

    @abstractmethod
    def _begin(self) -> list[Event]:
        """Create the blocks in `self._store`; the first event is `self._start_event(...)`."""

    @abstractmethod
    def _run_feeds(self) -> list[Feed]:
        """Feeds of the run itself."""

    @abstractmethod
    def _take(self, results: Sequence[Result]) -> list[Event]:
        """Results of the run's feeds. Block operations that a full pool can stop go into `self._later`."""

    @abstractmethod
    def _branches(self, copies: Copies, name: str) -> tuple[list[Finisher], tuple[str, ...]]:
        """Branches that answer for the run as it is now, and answers that are known without one.

        Args:
            copies: makes the copies of blocks that they write to or that the run goes on to change.
            name: of a branch, different for each budget; where there are several it is the beginning.
        """

    def _conclude(self, snapshot: Snapshot) -> str | None:
        """The answer of a snapshot whose branches are done."""
        return snapshot.finishers[0].answer if snapshot.finishers else None

    def _view_length(self, longest: int) -> int:
        """Tokens of the longest view that an answer would be written in, after the next forward.

        Args:
            longest: tokens of the longest view of the run, then.
        """
        return longest

    def _growth(self) -> int:
        """The most tokens that a forward adds to a view, as long as nothing is encoded anew."""
        return len(self.workers) - len(self._branch_names)

    def _characters_of_changes(self) -> str | None:
        """Characters one of which a token has that makes the run do something else than to feed it.

        End tokens and answers apart. None: that is not known, and no token is a plain one.
        """
        return None

    # ------------------------------------------------------------------ what a method uses

    def _end(self, reason: str) -> None:
        """The run is over, unless it was before."""
        self._state.reason = self._state.reason or reason

    @property
    def _ended(self) -> bool:
        return self._state.reason is not None

    def _give(self, worker: str, answer: str) -> list[Event]:
        """The run gives its answer, and is over; the first one counts."""
        if not self._ended:
            self._given = answer
        self._end("answer")
        return [AnswerEvent(worker=worker, text=answer)]

    def _later(self, operation: Callable[[], None]) -> None:
        """Do this to the blocks before anything else happens to them; it may meet a full pool and come again."""
        self._state.operations.append(operation)

    def _join(self, names: Sequence[str]) -> None:
        """More workers. They stand before all branches: a worker's place decides its draws."""
        writing = self.workers[: len(self.workers) - len(self._branch_names)]
        self.workers = (*writing, *names, *self._branch_names)

    def _longest(self, feeds: Sequence[Feed]) -> int:
        """Tokens of the longest view of `feeds` when they are written."""
        lengths: dict[str, int] = {}  # looked up once each: views share most blocks, and every forward asks
        for feed in feeds:
            for name in feed.view.blocks:
                if name not in lengths:
                    lengths[name] = self._store.length(name)
            lengths[feed.view.write_to] += len(feed.tokens)
        return max(sum(map(lengths.__getitem__, feed.view.blocks)) for feed in feeds)

    def _search(self, text: str, ended: bool = False) -> str | None:
        """The answer that `text` gives, if answers end the run; what has ended has ended its last line, too."""
        return None if self._find_answer is None else self._find_answer(f"{text}\n" if ended else text)

    def _early_tokens(self, before: str, lead: str | None = None) -> tuple[int, ...]:
        """The early-stop line behind the text `before` and `lead`, by default as a paragraph of its own."""
        separator = self.family.headers.separator
        lead = separator if lead is None else lead
        if before.endswith((lead, separator)):
            lead = ""
        return tuple(self._encoder.encode(before, lead + early_line(self.family, self.form)))

    def _start_event(self, layout: str, prompt: Sequence[int], **settings: Any) -> StartEvent:
        common = {
            "max_forwards": self.max_forwards,
            "budgets": list(self.budgets),
            "early_finish": self._early_finish,
            "family": self.family.name,
            "answer": self.form.name,
            "sampling": self._sampling.to_dict(),
        }
        return StartEvent(
            protocol=self.name,
            problem=self.problem,
            workers=list(self.workers),
            layout=layout,
            prompt=self._tokenizer.decode(list(prompt)),
            settings={**common, **settings},
        )

    # ------------------------------------------------------------------ the contract with the engine

    def sampling(self, worker: str) -> SamplingParams:
        if worker in self._branch_names:  # a short answer has no use for chance
            return SamplingParams(forbidden_tokens=self._sampling.forbidden_tokens)
        return self._sampling

    def start(self, store: BlockStore) -> list[Event]:
        self._store = store
        return self._begin()

    def feeds(self) -> list[Feed]:
        if self._ended:
            return [feed for finisher in self._running for feed in finisher.feeds()]
        return self._run_feeds()

    def plain_tokens(self) -> torch.Tensor | None:
        forwards = self.forwards + 1  # when the results are there
        asked = self._early_finish and forwards in self.budgets
        if self._ended or asked or forwards >= self.max_forwards or self._is_full(len(self.workers)):
            return None
        return self._plain

    @cached_property
    def _plain(self) -> torch.Tensor | None:
        answer = "" if self._find_answer is None else self.form.ends
        own = self._characters_of_changes()
        if own is None or answer is None or self._find_answer not in (None, self.form.find):
            return None
        return plain_tokens(self._tokenizer, own + answer, self._end_tokens)

    def receive(self, results: Sequence[Result]) -> list[Event]:
        if self._ended and self._state.received is None:
            self._take_answers(results)
            return self._finish_if_answered()
        if self._state.received is None:
            self._state.received = self._take(results)
            self.forwards += 1
            if self.forwards >= self.max_forwards:
                self._end("max_forwards")
        while self._state.operations:  # a full pool stops this here, and the same call again goes on
            self._state.operations[0]()
            self._state.operations.popleft()
        events, self._state.received = self._state.received, None
        if not self._ended and self._is_full():
            self._end("max_length")
        self._take_snapshot()
        return [*events, *self._finish_if_answered()]

    @property
    def _running(self) -> list[Finisher]:
        return [f for snapshot in self._snapshots for f in snapshot.finishers if not f.done]

    def _is_full(self, more: int = 0) -> bool:
        """Whether the next forward does not fit into the context, or leaves no room for an answer.

        Args:
            more: tokens that the longest view will have grown by.
        """
        if self.max_length is None:
            return False
        longest = self._longest(self._run_feeds()) + more
        if longest > self.max_length:
            return True
        if not self._early_finish:
            return False
        return self._view_length(longest) + self._growth() + self._room > self.max_length

    @cached_property
    def _room(self) -> int:
        """Tokens of the early-stop line and an answer."""
        return len(self._early_tokens("")) + self._limits.max_tokens

    def _fits(self, finisher: Finisher) -> bool:
        length = (
            self._longest(finisher.feeds()) + self._limits.max_tokens - 1
        )  # the last one is never written
        return self.max_length is None or length <= self.max_length

    def _take_snapshot(self) -> None:
        """Note the state of the run for the budget that is spent now; when it is over, for all that are left."""
        due = tuple(b for b in self.budgets if b == self.forwards or (self._ended and b > self.forwards))
        if not due or self._given is not None or not self._early_finish:
            return
        copies = Copies(self._store, f"at {self.forwards}", self._fixed_blocks)
        finishers, known = self._branches(copies, f"answer at {self.forwards}")
        finishers = [finisher for finisher in finishers if self._fits(finisher)]
        if not finishers:
            copies.drop()
        self._snapshots.append(Snapshot(due, self.forwards, finishers, copies, known))
        names = tuple(finisher.worker for finisher in finishers)
        self.workers, self._branch_names = (*self.workers, *names), (*self._branch_names, *names)

    def _take_answers(self, results: Sequence[Result]) -> None:
        tokens = {result.worker: result.token for result in results if result.token is not None}
        for snapshot in self._snapshots:
            for finisher in snapshot.finishers:
                if not finisher.done:
                    finisher.take(tokens[finisher.worker])
            if all(finisher.done for finisher in snapshot.finishers):
                snapshot.copies.drop()

    def _finish_if_answered(self) -> list[Event]:
        if not self._ended or self._running:
            return []
        for budget in self.budgets:
            self.answers.append(self._answer(budget))
        self.finish_reason = self._state.reason
        return [
            BudgetEvent(budget=a.budget, answer=a.answer, given=a.given, forwards=a.forwards, text=a.text)
            for a in self.answers
        ]

    def _answer(self, budget: int) -> BudgetAnswer:
        for snapshot in self._snapshots:
            if budget in snapshot.budgets:
                text = "\n".join(finisher.text for finisher in snapshot.finishers)
                return BudgetAnswer(budget, self._conclude(snapshot), False, snapshot.forwards, text)
        if self._given is not None and self.forwards <= budget:
            return BudgetAnswer(budget, self._given, True, self.forwards)
        return BudgetAnswer(budget, None, False, min(budget, self.forwards))


def _check_budgets(budgets: Sequence[int], max_forwards: int | None) -> tuple[tuple[int, ...], int]:
    """Both as they are used."""
    if isinstance(budgets, (str, bytes)) or not isinstance(budgets, Sequence):
        raise TypeError(f"budgets: expected a list of numbers, got {budgets!r}")
    for budget in budgets:
        check_integer("budgets", budget, minimum=1)
    if any(a >= b for a, b in pairwise(budgets)):
        raise ValueError(f"budgets: expected ascending numbers, got {list(budgets)}")
    if max_forwards is None:
        max_forwards = budgets[-1] if budgets else DEFAULT_FORWARDS
    check_integer("max_forwards", max_forwards, minimum=1)
    if budgets and budgets[-1] > max_forwards:
        raise ValueError(f"budgets: expected none above max_forwards={max_forwards}, got {list(budgets)}")
    return tuple(budgets) or (max_forwards,), max_forwards
