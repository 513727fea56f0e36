"""Threads that know nothing of each other: sequential generation, and self-consistency (paper, section 4.1)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hogwild.cache.view import ViewSpec
from hogwild.engine.checks import check_flag, check_integer, token_ids
from hogwild.engine.events import Event
from hogwild.engine.feed import Feed, Result
from hogwild.prompting import solo_prompt, worker_names
from hogwild.prompting.headers import MOST_WORKERS
from hogwild.prompting.latex import plain_spaces, plain_words, unwrap
from hogwild.prompting.quantities import stated_quantity
from hogwild.protocols.budgeted import BudgetedProtocol, Snapshot
from hogwild.protocols.finisher import Copies, Finisher
from hogwild.protocols.thread import Thread

PROMPT = "prompt"


class ThreadsProtocol(BudgetedProtocol):
    """Independent threads on one prompt.

    All but the prompt's last token is stored once; that one is every thread's own first token, from which it
    samples beside the others.
    """

    _fixed_blocks = (PROMPT,)

    def __init__(
        self,
        problem: str,
        tokenizer: Any,
        threads: int,
        *,
        prompt: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(problem, tokenizer, worker_names(threads), **settings)
        if prompt is None:
            prompt = solo_prompt(problem, tokenizer, self.family, answer=self.form)
        self._prompt = token_ids("prompt", prompt)
        if not self._prompt:
            raise ValueError("prompt: expected at least one token id, got none")
        self._threads = [Thread(name, self._prompt[-1:], PROMPT, tokenizer) for name in self.workers]
        self._prefilled = False

    def _begin(self) -> list[Event]:
        for block in (PROMPT, *(thread.block for thread in self._threads)):
            self._store.create(block)
        return [self._start_event("independent", self._prompt, threads=len(self._threads))]

    def _characters_of_changes(self) -> str | None:
        return ""

    def _run_feeds(self) -> list[Feed]:
        feeds = [thread.feed() for thread in self._threads if not thread.ended]
        if not self._prefilled and len(self._prompt) > 1:
            first = Feed(self.workers[0], self._prompt[:-1], ViewSpec((PROMPT,), PROMPT), sample=False)
            return [first, *feeds]
        return feeds

    def _take(self, results: Sequence[Result]) -> list[Event]:
        self._prefilled = True
        events: list[Event] = []
        tokens = {result.worker: result.token for result in results if result.token is not None}
        for thread in self._threads:
            if thread.ended:
                continue
            events.append(thread.take(tokens[thread.worker], self._end_tokens))
            if answer := self._search(thread.text, thread.ended):
                thread.answer, thread.ended = answer, True
        return [*events, *self._after()]

    def _after(self) -> list[Event]:
        """What follows from the threads as they are now."""
        if all(thread.ended for thread in self._threads):
            self._end("answer" if any(thread.answer for thread in self._threads) else "eos")
        return []

    def _alone(self, thread: Thread, copies: Copies, name: str) -> Finisher:
        """A branch that answers from the view of one thread."""
        tokens = (*thread.pending, *self._early_tokens(thread.text))
        return Finisher(name, [Feed(name, tokens, copies.view(thread.view))], self._limits)


class SequentialProtocol(ThreadsProtocol):
    """One instance of the model writes a chain of thought: what all parallel methods are compared with.

    Args:
        problem: what is to be solved.
        tokenizer: a Hugging Face tokenizer.
        prompt: token ids of what stands before the text; by default `prompting.solo_prompt`.
        settings: see `BudgetedProtocol`; with `early_finish` this is the paper's improved baseline.
    """

    name = "sequential"

    def __init__(
        self, problem: str, tokenizer: Any, *, prompt: Sequence[int] | None = None, **settings: Any
    ) -> None:
        super().__init__(problem, tokenizer, 1, prompt=prompt, **settings)

    def _after(self) -> list[Event]:
        (thread,) = self._threads
        if thread.answer is not None:
            return self._give(thread.worker, thread.answer)
        if thread.ended:
            self._end("eos")
        return []

    def _branches(self, copies: Copies, name: str) -> tuple[list[Finisher], tuple[str, ...]]:
        return [self._alone(self._threads[0], copies, name)], ()


class SelfConsistencyProtocol(ThreadsProtocol):
    """Several instances solve the problem independently; then one looks at all of their texts and answers.

    The look is a view of all threads' blocks, one after the other, at the end of which the early-stop line is
    written. It is taken at every budget, also where the threads have given their answers.

    Args:
        problem: what is to be solved.
        tokenizer: a Hugging Face tokenizer.
        threads: how many.
        vote: the most frequent of the threads' answers instead; threads that gave none are made to. Among
            equally frequent ones those count first that were given.
        prompt: token ids of what stands before each text; by default `prompting.solo_prompt`.
        settings: see `BudgetedProtocol`; without `early_finish` there is neither look nor vote.
    """

    name = "self-consistency"

    def __init__(
        self,
        problem: str,
        tokenizer: Any,
        threads: int = 2,
        *,
        vote: bool = False,
        prompt: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        check_integer("threads", threads, minimum=1)
        if threads > MOST_WORKERS:
            raise ValueError(f"threads: expected at most {MOST_WORKERS}, got {threads}")
        check_flag("vote", vote)
        super().__init__(problem, tokenizer, threads, prompt=prompt, **settings)
        self._vote = vote

    def _view_length(self, longest: int) -> int:
        if self._vote:
            return super()._view_length(longest)
        own = sum(self._store.length(thread.block) + len(thread.pending) for thread in self._threads)
        return self._store.length(PROMPT) + own  # of the look

    def _branches(self, copies: Copies, name: str) -> tuple[list[Finisher], tuple[str, ...]]:
        if self._vote:
            asked = [thread for thread in self._threads if thread.answer is None]
            known = tuple(thread.answer for thread in self._threads if thread.answer is not None)
            return [self._alone(thread, copies, f"{name} of {thread.worker}") for thread in asked], known
        views = [copies.view(thread.view) for thread in self._threads]
        feeds = [
            Feed(name, thread.pending, view)
            for thread, view in zip(self._threads, views, strict=True)
            if thread.pending
        ]
        tail = copies.new("look")
        everything = ViewSpec((PROMPT, *(view.write_to for view in views), tail), tail)
        feeds.append(Feed(name, self._early_tokens(self._threads[-1].text), everything))
        return [Finisher(name, feeds, self._limits)], ()

    def _conclude(self, snapshot: Snapshot) -> str | None:
        if not self._vote:
            return super()._conclude(snapshot)
        asked = (finisher.answer for finisher in snapshot.finishers)
        answers = [*snapshot.known, *(answer for answer in asked if answer is not None)]
        counts = Counter(_essence(answer) for answer in answers)
        return max(answers, key=lambda answer: counts[_essence(answer)], default=None)


def _essence(answer: str) -> str:
    """What must be the same for two votes to be for the same answer: the number, or the text as it reads."""
    if quantity := stated_quantity(answer):
        return str(quantity.value)
    answer = re.sub(r"\\[dt]frac(?![a-z])", r"\\frac", unwrap(plain_spaces(answer)))
    answer = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", answer)
    return (
        re.sub(r"\s+|\\?\$|\\ |\\(?=%)|\{,\}|\\(?:left|right)(?![a-z])", "", plain_words(answer))
        .rstrip(".")
        .lower()
    )
