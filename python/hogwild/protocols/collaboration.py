"""Hogwild! Inference: workers that write at the same time over one shared cache (paper, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from hogwild.cache.layouts import make_layout
from hogwild.cache.view import ViewSpec
from hogwild.engine.checks import check_flag, check_kind, token_ids
from hogwild.engine.events import Event, InterventionEvent, StepEvent, TokenEvent
from hogwild.engine.feed import Feed, Result
from hogwild.engine.sampling import SamplingParams
from hogwild.prompting import (
    Headers,
    StepDetector,
    StepRule,
    collaboration_prompt,
    worker_names,
)
from hogwild.protocols.budgeted import BudgetedProtocol
from hogwild.protocols.finisher import Copies, Finisher
from hogwild.protocols.plain_tokens import characters_of_ends
from hogwild.protocols.questions import Questions
from hogwild.protocols.writer import Writer

MAX_WORKERS = 16


@dataclass(frozen=True)
class _Closing:
    """A finished step on its way to the history.

    Attributes:
        block: the block that it stands in for one more forward, between the history and everything else;
            None where the step is encoded anew at the end of the history.
        worker: who wrote it.
        tokens: what is still to be written of it.
    """

    block: str | None
    worker: str
    tokens: tuple[int, ...]


class CollaborationProtocol(BudgetedProtocol):
    """N workers solve one problem together.

    Every worker writes its current step to a block of its own, which begins with the separator and a header
    with its name and the step's index. When a step ends and the layout has a history, the block moves to its
    end, and the worker opens its next step in the same forward. Where the token that ended the step has more in
    it than the separator, as ".\\n\\n" has the full stop, that part is written to the step after all, while the
    step stands between the history and everything else: so every view is at any moment the text of the paper's
    Figure 8, whatever the tokenizer. What follows the separator in that token, line breaks apart, opens the
    next step.

    A worker that ends its text stops; the others go on. The run ends with the first answer, when nobody writes
    any more, or after `max_forwards`. Answers that are asked for at a budget are written from the last worker's
    point of view, which shows all workers' text.

    Args:
        problem: what the workers are to solve.
        tokenizer: a Hugging Face tokenizer.
        workers: how many (at most 16), or their names.
        layout: "combined", "contiguous" or "interleaved" (paper, Appendix A). In the last one workers do not
            see each other's unfinished steps.
        numbered: the workers are called Worker 1, Worker 2, ...
        question_every: the redundancy question is put into a new step when this many tokens were sampled
            since the last one, by all workers together; None: never. Nor is a worker asked who is alone.
        question_to: the question goes to the "next" worker that opens a step, or to a "random" one.
        reencode: finished steps are encoded anew at the end of the history instead of rotated (paper,
            Appendix E.1).
        examples: show the family's examples in the prompt.
        person: the rules address the workers ("second") or are theirs ("first").
        headers: the texts around the workers' own; by default the family's.
        rule: where a step ends.
        prompt: token ids of what stands before the first steps; by default `prompting.collaboration_prompt`.
        settings: see `BudgetedProtocol`.

    Attributes:
        questions: how often the redundancy question was put.

    Raises:
        ValueError, TypeError, UnknownNameError: an argument is not what it should be; it is named.
    """

    name = "collaboration"

    def __init__(
        self,
        problem: str,
        tokenizer: Any,
        workers: int | Sequence[str] = 2,
        layout: str = "combined",
        *,
        numbered: bool = False,
        question_every: int | None = 1024,
        question_to: str = "next",
        reencode: bool = False,
        examples: bool = True,
        person: str = "second",
        headers: Headers | None = None,
        rule: StepRule | None = None,
        prompt: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        for what, flag in (("numbered", numbered), ("reencode", reencode), ("examples", examples)):
            check_flag(what, flag)
        check_kind("headers", headers, Headers)
        check_kind("rule", rule, StepRule)
        names = worker_names(workers, numbered, MAX_WORKERS)
        super().__init__(problem, tokenizer, names, **settings)
        self.layout = make_layout(layout, names)
        if headers is not None:
            self.family = replace(self.family, headers=headers)
        self.headers = self.family.headers
        self._reencode = reencode
        self._asking = Questions(names, question_every, question_to, self._sampling.seed)
        self._sampling = _forbid(self._sampling, self.family.forbidden_ids(tokenizer))
        if prompt is None:
            prompt = collaboration_prompt(
                problem,
                names,
                layout,
                tokenizer,
                self.family,
                answer=self.form,
                examples=examples,
                person=person,
            )
        self._prompt = token_ids("prompt", prompt)
        if not self._prompt:
            raise ValueError("prompt: expected at least one token id, got none")
        alone = len(names) == 1
        self._sections = [
            (view, tuple(self._encoder.encode("", self.headers.section(view.write_to, alone))))
            for view in self.layout.sections
        ]
        self._separator = tuple(self._encoder.encode("", self.headers.separator))
        opening = f"{self.headers.separator}{self.headers.step(names[0], 1000)} {self.family.question}"
        self._opening = 1 + len(self._encoder.encode("", opening))  # the most that a step begins with
        rule = rule or StepRule(separator=self.headers.separator)
        self._ends = characters_of_ends(rule)
        self._writers = [Writer(name, tokenizer, StepDetector(rule)) for name in names]
        self._closings: list[_Closing] = []  # in the order in which the steps were finished
        self._prefilled = False
        self._settings = {
            "question_every": question_every,
            "question_to": question_to,
            "reencode": reencode,
            "examples": examples,
            "person": person,
        }

    @property
    def questions(self) -> int:
        return self._asking.count

    def _begin(self) -> list[Event]:
        for block in self.layout.block_names:
            self._store.create(block)
        events: list[Event] = [self._start_event(self.layout.name, self._prompt, **self._settings)]
        for index, writer in enumerate(self._writers):
            events += writer.insert(self._separator)
            opening = self.family.opening(index, writer.name) if len(self._writers) > 1 else ""
            events += self._open_step(writer, self._separator, opening)
        return events

    # ------------------------------------------------------------------ what is written

    def _run_feeds(self) -> list[Feed]:
        return [*([] if self._prefilled else self._prefill()), *self._next_feeds()]

    def _prefill(self) -> list[Feed]:
        """The prompt and the section headers, each in the place where workers will see it."""
        first, history = self.layout.workers[0], self.layout.history
        prompt = Feed(first, self._prompt, ViewSpec((history,), history), sample=False)
        return [prompt, *(Feed(first, tokens, view, sample=False) for view, tokens in self._sections)]

    def _next_feeds(self) -> list[Feed]:
        """What finished steps still lack, then what every worker goes on with."""
        return [*self._closing_feeds(), *(w.feed(self._view(w.name)) for w in self._writers if w.pending)]

    def _closing_feeds(self) -> list[Feed]:
        history = self.layout.history
        anew = [closing for closing in self._closings if closing.block is None]
        if anew:  # all of them in one feed: a block is written to once in a forward
            tokens = tuple(token for closing in anew for token in closing.tokens)
            return [Feed(anew[0].worker, tokens, ViewSpec((history,), history), sample=False)]
        feeds, before = [], [history]
        for closing in self._closings:
            assert closing.block is not None
            before.append(closing.block)
            if closing.tokens:
                view = ViewSpec(tuple(before), closing.block)
                feeds.append(Feed(closing.worker, closing.tokens, view, sample=False))
        return feeds

    def _view(self, worker: str) -> ViewSpec:
        """The layout's view, with steps that are on their way to the history at its end."""
        view = self.layout.view(worker)
        if not self._closings:
            return view
        closing = tuple(closing.block for closing in self._closings if closing.block is not None)
        return ViewSpec((view.blocks[0], *closing, *view.blocks[1:]), view.write_to)

    def plain_tokens(self) -> torch.Tensor | None:
        return None if self._closings else super().plain_tokens()

    def _characters_of_changes(self) -> str | None:
        return self._ends

    def _growth(self) -> int:
        return self._opening * len(self._writers)

    # ------------------------------------------------------------------ what comes back

    def _take(self, results: Sequence[Result]) -> list[Event]:
        self._prefilled = True
        for closing in self._closings:
            if closing.block is not None:
                self._later(partial(self._arrive, closing.block))
        self._closings = []
        tokens = {result.worker: result.token for result in results if result.token is not None}
        writing = [writer for writer in self._writers if writer.pending]
        events = [event for writer in writing for event in self._take_token(writer, tokens[writer.name])]
        if not any(writer.pending for writer in self._writers):
            self._end("eos")
        return events

    def _take_token(self, writer: Writer, token: int) -> list[Event]:
        """What one sampled token does to its worker."""
        self._asking.sampled()
        if token in self._end_tokens:
            return self._stop(writer, token)
        said, ends = writer.sample(token)
        events: list[Event] = [said]
        if answer := self._search(writer.step.text):
            events += self._give(writer.name, answer)
        if ends and self.layout.moves_finished_steps:
            events = [*self._finish_step(writer, said), *events[1:]]
        elif ends:
            writer.step.reset()
            events += self._ask(writer, self.headers.separator)
        return events

    def _stop(self, writer: Writer, token: int) -> list[Event]:
        """The worker's text has ended: what it was writing is its last step."""
        events: list[Event] = [writer.stop(token)]
        self._asking.stopped(writer.name)
        if answer := self._search(writer.step.text, ended=True):
            events += self._give(writer.name, answer)
        if not self.layout.moves_finished_steps:
            return events
        text = writer.step.text.strip()
        if text:
            self._move(writer, writer.written, ())
            events.append(StepEvent(worker=writer.name, index=writer.index, text=text))
        else:  # a header without a step
            self._later(partial(self._store.clear, self.layout.step_block(writer.name)))
        writer.leave_step()
        return events

    def _finish_step(self, writer: Writer, said: TokenEvent) -> list[Event]:
        """Move the step to the history, whole and without the separator, and open the next one."""
        cut = writer.cut()
        lead = self._separator if cut.at_separator else writer.pending
        if cut.at_separator:  # blanks behind the separator are dropped, words are said under the next header
            end = len(cut.text) + len(writer.step.rule.separator)
            said = replace(said, text=said.text[: len(said.text) - (len(writer.step.text) - end)])
        # a token begins there, whatever is before it, so the same few rests come up again and again
        rest = tuple(self._encoder.encode("", cut.rest)) if cut.rest else ()
        self._move(writer, cut.kept, rest)
        event = StepEvent(worker=writer.name, index=writer.index, text=cut.text.strip())
        return [said, event, *self._open_step(writer, lead, cut.behind)]

    def _move(self, writer: Writer, kept: int, rest: tuple[int, ...]) -> None:
        """Send the step to the history: the first `kept` of its sampled tokens, and then `rest`."""
        block = self.layout.step_block(writer.name)
        if kept < writer.written:
            length = self._store.length(block) - (writer.written - kept)
            self._later(partial(self._store.crop, block, length))
        if self._reencode:
            self._later(partial(self._leave, writer.name, block, rest))
        elif rest or self._closings:  # behind the others, so that steps keep the order in which they ended
            name = f"closing:{writer.name}"
            self._later(partial(self._set_aside, block, name))
            self._closings.append(_Closing(name, writer.name, rest))
        else:
            self._later(partial(self._store.append_from, self.layout.history, block))

    def _arrive(self, block: str) -> None:
        self._store.append_from(self.layout.history, block)
        self._store.drop(block)

    def _set_aside(self, block: str, name: str) -> None:
        self._store.fork(block, name)
        self._store.clear(block)

    def _leave(self, worker: str, block: str, rest: tuple[int, ...]) -> None:
        self._closings.append(_Closing(None, worker, (*self._store.tokens(block), *rest)))
        self._store.clear(block)

    def _open_step(self, writer: Writer, lead: tuple[int, ...], words: str = "") -> list[Event]:
        """Put the next header into the feed, and the first words.

        Args:
            writer: whose step it is.
            lead: separates the step from what is before it. The worker's text has it already.
            words: of the worker, or for it.
        """
        writer.leave_step()
        writer.index += 1
        writer.pending = lead
        header = self.headers.step(writer.name, writer.index)
        events: list[Event] = list(writer.insert(self._encoder.encode(self.headers.separator, header)))
        if words:
            events += writer.insert(self._encoder.encode(header, f" {words}"))
        return [*events, *self._ask(writer, " ")]

    def _ask(self, writer: Writer, lead: str) -> list[Event]:
        """The redundancy question behind `lead`, if it is this worker's turn to be asked."""
        if not self._asking.due(writer.name):
            return []
        question = self.family.question
        if writer.shown.endswith(lead):
            lead = ""
        tokens = self._encoder.encode(writer.shown, lead + question)
        return [*writer.insert(tokens), InterventionEvent(worker=writer.name, text=question)]

    # ------------------------------------------------------------------ answers that are asked for

    def _branches(self, copies: Copies, name: str) -> tuple[list[Finisher], tuple[str, ...]]:
        last = self._writers[-1]
        feeds = [feed for feed in self._next_feeds() if feed.worker != last.name or not feed.sample]
        fresh = bool(last.pending) and not last.step.text  # nothing stands behind its header yet
        line = self._early_tokens(last.shown, " " if fresh else self.headers.separator)
        own = Feed(name, (*last.pending, *line), self._view(last.name))
        first = [replace(feed, view=copies.view(feed.view)) for feed in (*feeds, own)]
        return [Finisher(name, first, self._limits)], ()


def _forbid(sampling: SamplingParams, tokens: Sequence[int]) -> SamplingParams:
    return sampling.replace(forbidden_tokens=tuple(dict.fromkeys((*sampling.forbidden_tokens, *tokens))))
