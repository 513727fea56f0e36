"""Hogwild! Inference: workers that write at the same time over one shared cache (paper, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hogwild.cache.layouts import make_layout
from hogwild.cache.store import BlockStore
from hogwild.cache.view import ViewSpec
from hogwild.engine.checks import check_integer
from hogwild.engine.detokenize import Detokenizer
from hogwild.engine.events import AnswerEvent, Event, StartEvent, StepEvent, TokenEvent
from hogwild.engine.feed import Feed, Result
from hogwild.engine.protocol import Protocol
from hogwild.engine.sampling import SamplingParams
from hogwild.prompting import (
    Headers,
    StepDetector,
    StepRule,
    collaboration_prompt,
    encode_after,
    find_boxed,
    headers_for,
    worker_names,
)


@dataclass
class _Writer:
    """One worker and its unfinished step."""

    name: str
    text: Detokenizer
    step: StepDetector
    index: int = 0
    pending: tuple[int, ...] = ()  # goes into its block with the next forward

    def say(self, tokens: Sequence[int], source: str) -> list[TokenEvent]:
        """Events of tokens that join its text."""
        return [
            TokenEvent(worker=self.name, token=token, text=self.text.push(token), source=source)
            for token in tokens
        ]


class CollaborationProtocol(Protocol):
    """N workers solve one problem together.

    Every worker writes its current step to a block of its own, which begins with the separator and a header
    with its name and the step's index. The token that ends a step is not written any more: where the layout
    has a history, the block moves to its end, and the token opens the worker's next step, in one feed with
    the next header. The run ends when a worker gives an answer or ends its text, or after `max_forwards`.

    Args:
        problem: what the workers are to solve.
        tokenizer: a Hugging Face tokenizer.
        workers: how many, or their names.
        layout: "combined", "contiguous" or "interleaved" (paper, Appendix A).
        max_forwards: tokens that each worker samples at most.
        sampling: settings of all workers.
        end_tokens: ids that end a worker's text; the tokenizer's own is one of them anyway.
        find_answer: gives the answer in a worker's unfinished step, or None; None as an argument: run on.
        headers: the texts around the workers' own; by default those that suit the tokenizer's model.
        rule: where a step ends.
        prompt: token ids of what stands before the first steps; by default `prompting.collaboration_prompt`.

    Raises:
        ValueError, TypeError, UnknownNameError: an argument is not what it should be; it is named.
    """

    name = "collaboration"
    _store: BlockStore

    def __init__(
        self,
        problem: str,
        tokenizer: Any,
        workers: int | Sequence[str] = 2,
        layout: str = "combined",
        *,
        max_forwards: int = 256,
        sampling: SamplingParams | None = None,
        end_tokens: Collection[int] = (),
        find_answer: Callable[[str], str | None] | None = find_boxed,
        headers: Headers | None = None,
        rule: StepRule | None = None,
        prompt: Sequence[int] | None = None,
    ) -> None:
        if not isinstance(problem, str):
            raise TypeError(f"problem: expected text, got {problem!r}")
        check_integer("max_forwards", max_forwards, minimum=1)
        self.problem, self.max_forwards = problem, max_forwards
        self.workers = worker_names(workers)
        self.layout = make_layout(layout, self.workers)
        self.headers = headers or headers_for(tokenizer)
        self._tokenizer, self._find_answer = tokenizer, find_answer
        self._sampling = sampling or SamplingParams()
        own_end = getattr(tokenizer, "eos_token_id", None)
        self._end_tokens = {*end_tokens, *(() if own_end is None else (own_end,))}
        if prompt is None:
            prompt = collaboration_prompt(problem, self.workers, layout, tokenizer, self.headers)
        if not prompt:
            raise ValueError("prompt: expected at least one token id, got none")
        self._prompt = tuple(prompt)
        alone = len(self.workers) == 1
        self._sections = [
            (view, tuple(encode_after(tokenizer, "", self.headers.section(view.write_to, alone))))
            for view in self.layout.sections
        ]
        rule = rule or StepRule(separator=self.headers.separator)
        self._writers = [_Writer(w, Detokenizer(tokenizer), StepDetector(rule)) for w in self.workers]
        self._prefilled = False
        self._rounds = 0
        self._received: list[Event] | None = None  # of results that are not dealt with to the end yet
        self._finished_steps: list[str] = []  # blocks that are to move to the history, in this order

    def sampling(self, worker: str) -> SamplingParams:
        return self._sampling

    def start(self, store: BlockStore) -> list[Event]:
        self._store = store
        for block in self.layout.block_names:
            store.create(block)
        events: list[Event] = [
            StartEvent(
                protocol=self.name,
                problem=self.problem,
                workers=list(self.workers),
                layout=self.layout.name,
                prompt=self._tokenizer.decode(list(self._prompt)),
                settings={"max_forwards": self.max_forwards, "sampling": self._sampling.to_dict()},
            )
        ]
        separator = tuple(encode_after(self._tokenizer, "", self.headers.separator))
        for writer in self._writers:
            events.extend(writer.say(separator, "inserted"))
            events.extend(self._open_step(writer, separator))
        return events

    def feeds(self) -> list[Feed]:
        shared = [] if self._prefilled else self._prefill()
        return shared + [Feed(w.name, w.pending, self.layout.view(w.name)) for w in self._writers]

    def receive(self, results: Sequence[Result]) -> list[Event]:
        if self._received is None:
            self._received = self._take_all(results)
        while self._finished_steps:  # a full pool stops this here, and the same call again goes on
            self._store.append_from(self.layout.history, self._finished_steps[0])
            del self._finished_steps[0]
        events, self._received = self._received, None
        return events

    def _take_all(self, results: Sequence[Result]) -> list[Event]:
        self._prefilled = True
        self._rounds += 1
        tokens = {result.worker: result.token for result in results if result.token is not None}
        events = [event for writer in self._writers for event in self._take(writer, tokens[writer.name])]
        if not self.finished and self._rounds >= self.max_forwards:
            self.finish_reason = "max_forwards"
        return events

    def _prefill(self) -> list[Feed]:
        """The prompt and the section headers, each in the place where workers will see it."""
        first, history = self.workers[0], self.layout.history
        prompt = Feed(first, self._prompt, ViewSpec((history,), history), sample=False)
        return [prompt, *(Feed(first, tokens, view, sample=False) for view, tokens in self._sections)]

    def _take(self, writer: _Writer, token: int) -> list[Event]:
        """What one sampled token does to its worker."""
        (said,) = writer.say([token], "sampled")
        events: list[Event] = [said]
        writer.pending = (token,)
        if token in self._end_tokens:
            self.finish_reason = self.finish_reason or "eos"
            return events
        ends = writer.step.push(said.text)
        if self._find_answer and (answer := self._find_answer(writer.step.text)):
            events.append(AnswerEvent(worker=writer.name, text=answer))
            self.finish_reason = "answer"
        if ends and self.layout.moves_finished_steps:
            events.extend(self._finish_step(writer))
        elif ends:
            writer.step.reset()
        return events

    def _finish_step(self, writer: _Writer) -> list[Event]:
        """Move the step to the history; the token that ended it opens the next one."""
        self._finished_steps.append(self.layout.step_block(writer.name))
        event = StepEvent(worker=writer.name, index=writer.index, text=writer.step.text.strip())
        return [event, *self._open_step(writer, writer.pending)]

    def _open_step(self, writer: _Writer, lead: tuple[int, ...]) -> list[TokenEvent]:
        """Put `lead`, which separates the step from what is before it, and the next header into the feed."""
        writer.index += 1
        header = encode_after(
            self._tokenizer, self.headers.separator, self.headers.step(writer.name, writer.index)
        )
        writer.pending = (*lead, *header)
        events = writer.say(header, "inserted")
        writer.step.reset()
        return events
