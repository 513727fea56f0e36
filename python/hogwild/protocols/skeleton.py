"""Skeleton-of-thought: an outline, its points in parallel, then an answer over all of it (paper, Appendix D.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from hogwild.cache.view import ViewSpec
from hogwild.engine.checks import check_integer
from hogwild.engine.events import Event, ModeEvent
from hogwild.engine.feed import Feed, Result
from hogwild.prompting import control_tokens, encode_after, encode_plain, solo_prompt
from hogwild.prompting.skeleton import outline_prompt, point_prompt, point_title, read_points
from hogwild.protocols.budgeted import BudgetedProtocol
from hogwild.protocols.finisher import Copies, Finisher
from hogwild.protocols.thread import Thread

OUTLINE, WRITER = "Outline", "Writer"
OUTLINE_TOKENS = 256
_LISTED = re.compile(r"\s*(?:\d{1,2}[.)]|[-*•])|\s{2,}|\s*$")  # a line that belongs to a numbered list


class SkeletonProtocol(BudgetedProtocol):
    """The model outlines the parts of an answer, writes the parts at the same time, and goes on over all of them.

    What the parts share of their prompts is stored once. When the last part has ended, the texts of all of them
    become the beginning of an ordinary sequential run, whose answer counts. Answers that are asked for before
    are written behind what there is: the list of points, or the parts as far as they have come.

    Args:
        problem: what is to be solved.
        tokenizer: a Hugging Face tokenizer.
        at_a_time: parts that write in one forward, in turns; None: all of them.
        settings: see `BudgetedProtocol`.

    Attributes:
        points: the outline, once it is written.
    """

    name = "skeleton"

    def __init__(self, problem: str, tokenizer: Any, at_a_time: int | None = None, **settings: Any) -> None:
        if at_a_time is not None:
            check_integer("at_a_time", at_a_time, minimum=1)
        super().__init__(problem, tokenizer, (OUTLINE,), **settings)
        self.points: list[str] = []
        self._at_a_time = at_a_time
        self._solo = tuple(solo_prompt(problem, tokenizer, self.family, answer=self.form))
        self._mode = "outline"
        self._prefill: list[Feed] = []
        self._threads: list[Thread] = []
        self._turn: list[Thread] = []  # who writes in the next forward
        self._blocks: list[str] = []  # of the present mode

    # ------------------------------------------------------------------ the three modes

    def _begin(self) -> list[Event]:
        prompt = outline_prompt(self.problem, self._tokenizer, self.family)
        start = self._start_event("independent", prompt, at_a_time=self._at_a_time)
        return [start, *self._enter("outline", prompt[:-1], {OUTLINE: prompt[-1:]})]

    def _enter(self, mode: str, shared: Sequence[int], starts: Mapping[str, Sequence[int]]) -> list[Event]:
        """Go on with threads of these names and first tokens behind a prompt that they share."""
        for block in self._blocks:
            self._store.drop(block)
        self._mode, prompt = mode, f"prompt:{mode}"
        self._join([name for name in starts if name not in self.workers])
        self._threads = [Thread(name, start, prompt, self._tokenizer) for name, start in starts.items()]
        self._blocks = [prompt, *(thread.block for thread in self._threads)]
        for block in self._blocks:
            self._store.create(block)
        view = ViewSpec((prompt,), prompt)
        first = next(iter(starts))
        self._prefill = [Feed(first, tuple(shared), view, sample=False)] if shared else []
        self._turn = self._threads[: self._at_a_time]
        return [ModeEvent(mode=mode)]

    def _enter_points(self) -> list[Event]:
        self.points = read_points(f"1.{self._threads[0].text}")
        if not self.points:
            return self._enter_answer([])
        prompts = [
            point_prompt(self.problem, self.points, index, self._tokenizer, self.family, self.form)
            for index in range(1, len(self.points) + 1)
        ]
        shared = _common(prompts)
        starts = {f"Point {index}": prompt[shared:] for index, prompt in enumerate(prompts, start=1)}
        return self._enter("points", prompts[0][:shared], starts)

    def _enter_answer(self, parts: Sequence[str]) -> list[Event]:
        prompt = self._behind(parts)
        return self._enter("answer", prompt[:-1], {WRITER: prompt[-1:]})

    def _behind(self, parts: Sequence[str]) -> tuple[int, ...]:
        """The prompt of a sequential run that has written `parts` already."""
        separator = self.family.headers.separator
        if not parts:
            return self._solo
        text = separator.join(parts) + separator
        tokens = encode_after(self._tokenizer, separator, text)
        if control_tokens(self._tokenizer).keys() & set(tokens):  # text that says what such tokens are called
            tokens = encode_plain(self._tokenizer, text)
        return (*self._solo, *tokens)

    # ------------------------------------------------------------------ forwards

    def _run_feeds(self) -> list[Feed]:
        return [*self._prefill, *(thread.feed() for thread in self._turn)]

    def _take(self, results: Sequence[Result]) -> list[Event]:
        self._prefill = []
        events: list[Event] = []
        tokens = {result.worker: result.token for result in results if result.token is not None}
        for thread in self._turn:
            events.append(thread.take(tokens[thread.worker], self._end_tokens))
            if self._mode != "outline":
                thread.answer = self._search(thread.text, thread.ended)
            thread.ended = thread.ended or thread.answer is not None or self._is_over(thread)
        return [*events, *self._after()]

    def _is_over(self, thread: Thread) -> bool:
        """Whether a text ends that has neither an answer nor an end token."""
        # Base models never end a text by themselves: a part is a paragraph.
        paragraph = not self.family.chat and self.family.headers.separator in thread.text.lstrip()
        if self._mode == "points":
            return paragraph
        if self._mode == "outline":
            whole = thread.text.split("\n")[1:-1]  # lines that have ended, behind the first point
            strange = any(not _LISTED.match(line) for line in whole)
            return paragraph or strange or self.forwards + 1 >= OUTLINE_TOKENS
        return False

    def _after(self) -> list[Event]:
        """What follows from the threads as they are now."""
        writing = [thread for thread in self._threads if not thread.ended]
        if writing:
            self._turn = self._next_turn(writing)
            return []
        if self._mode == "outline":
            return self._enter_points()
        if self._mode == "points":
            return self._enter_answer(self._parts())
        (thread,) = self._threads
        if thread.answer is not None:
            return self._give(thread.worker, thread.answer)
        self._end("eos")
        return []

    def _next_turn(self, writing: list[Thread]) -> list[Thread]:
        """Those who come after the last one that wrote, round and round."""
        if self._at_a_time is None or len(writing) <= self._at_a_time:
            return writing
        last = self._threads.index(self._turn[-1])
        order = [*self._threads[last + 1 :], *self._threads[: last + 1]]
        return [thread for thread in order if not thread.ended][: self._at_a_time]

    # ------------------------------------------------------------------ answers that are asked for

    def _parts(self) -> list[str]:
        """The texts of the points so far."""
        titles = (point_title(i, point, self.family).strip() for i, point in enumerate(self.points, start=1))
        return [f"{t} {thread.text.strip()}".strip() for t, thread in zip(titles, self._threads, strict=True)]

    def _view_length(self, longest: int) -> int:
        if self._mode == "answer":
            return super()._view_length(longest)
        own = sum(self._store.length(thread.block) + len(thread.pending) for thread in self._threads)
        return len(self._solo) + own  # they become the text of a sequential run

    def _branches(self, copies: Copies, name: str) -> tuple[list[Finisher], tuple[str, ...]]:
        if self._mode == "answer":
            (thread,) = self._threads
            line = self._early_tokens(thread.text)
            feed = Feed(name, (*thread.pending, *line), copies.view(thread.view))
            return [Finisher(name, [feed], self._limits)], ()
        parts = self._parts() if self._mode == "points" else [f"1.{self._threads[0].text}".strip()]
        block = copies.new("look")
        tokens = (*self._behind(parts), *self._early_tokens(self.family.headers.separator))
        return [Finisher(name, [Feed(name, tokens, ViewSpec((block,), block))], self._limits)], ()


def _common(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with alike, so that each has at least one of its own."""
    same = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False)))
    return min(same, min(map(len, prompts)) - 1)
