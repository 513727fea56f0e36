"""Asynchronous reasoning: a thinker and a writer at the same time, and a user who may speak meanwhile."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hogwild.cache.store import BlockStore
from hogwild.engine.checks import check_integer
from hogwild.engine.events import (
    AnswerEvent,
    Event,
    InputEvent,
    InterventionEvent,
    ModeEvent,
    ProbeEvent,
    RollbackEvent,
    StartEvent,
)
from hogwild.engine.feed import Feed, Result
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import BlockError, UnknownNameError
from hogwild.prompting import AsyncPrompts, StepRule, async_prompts, find_boxed
from hogwild.protocols.async_reasoning import arrangement as blocks
from hogwild.protocols.async_reasoning import plan as plans
from hogwild.protocols.async_reasoning.arrangement import Arrangement
from hogwild.protocols.async_reasoning.encoded import EncodedPrompts
from hogwild.protocols.async_reasoning.inbox import Finish, Interrupt, Message, Push
from hogwild.protocols.async_reasoning.listener import Listener
from hogwild.protocols.async_reasoning.modes import (
    ACTIVE,
    FOLDING,
    THINKER,
    THINKER_AND_WRITER,
    THINKER_ONLY,
    WAITING,
    WRITER,
    WRITER_ONLY,
)
from hogwild.protocols.async_reasoning.plan import Planned, Standing, plan_feeds
from hogwild.protocols.async_reasoning.policies import (
    Answer,
    Ask,
    Decision,
    Moment,
    Pause,
    Policy,
    Speak,
    make_policy,
)
from hogwild.protocols.async_reasoning.safety import Safety
from hogwild.protocols.async_reasoning.stream import Stream
from hogwild.protocols.async_reasoning.turns import EARLIER_THOUGHTS, closing_operations, run_operation

HOLD_AFTER_INTERRUPT = 64  # forwards
SUMMARY_TOKENS = 96


class AsyncReasoningProtocol(Listener):
    """A thinker reasons in private while a writer answers in public from the thoughts so far.

    Both write through the same blocks, which each of them sees in another order (`Arrangement`). A policy
    says when the writer speaks. `push`, `interrupt`, `finish` and `cancel` may be called from any thread while
    the protocol runs; they take effect before the next forward. docs/async-reasoning.md has the states.

    Args:
        problem: what the user asks.
        tokenizer: a Hugging Face tokenizer.
        policy: a name of `POLICIES`, or a policy with settings of its own.
        arrangement: "roles" or "shared", see `Arrangement`.
        prompts: all fixed texts; by default `prompting.async_prompts`.
        max_forwards: forwards of a turn, those that only write a prompt not counted.
        max_thoughts: forwards of a turn in which the thinker thinks; then its thoughts end. None: no limit.
        sampling, writer_sampling: settings of the thinker and of the writer; the writer's are the thinker's
            unless given.
        end_tokens: ids that end a stream; the tokenizer's own is one of them anyway.
        turns: whether the session waits for a next turn of the user when an answer has ended.
        earlier_thoughts: what becomes of a turn's thoughts when the next one begins: "kept", "folded" into a
            summary that the thinker writes, or "dropped".
        summary_tokens: tokens of such a summary at most.
        hold_after_interrupt: forwards after an interruption during which the writer stays silent, unless
            there is new input.
        rule: where a paragraph ends.
        safety: settings of the safety mode; None: off.
        clock: gives seconds, for interruptions by time.

    Attributes:
        mode: one of "thinker_only", "thinker_and_writer", "writer_only"; between turns "folding", "waiting".

    Raises:
        ValueError, TypeError, UnknownNameError: an argument is not what it should be; it is named.
    """

    name = "async_reasoning"
    workers = (THINKER, WRITER)
    _store: BlockStore

    def __init__(
        self,
        problem: str,
        tokenizer: Any,
        policy: str | Policy = "probe",
        *,
        arrangement: str = "roles",
        prompts: AsyncPrompts | None = None,
        max_forwards: int = 1024,
        max_thoughts: int | None = None,
        sampling: SamplingParams | None = None,
        writer_sampling: SamplingParams | None = None,
        end_tokens: Collection[int] = (),
        turns: bool = False,
        earlier_thoughts: str = "kept",
        summary_tokens: int = SUMMARY_TOKENS,
        hold_after_interrupt: int = HOLD_AFTER_INTERRUPT,
        rule: StepRule | None = None,
        safety: Safety | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not isinstance(problem, str):
            raise TypeError(f"problem: expected text, got {problem!r}")
        if not problem.strip():
            raise ValueError("problem: expected some text, got none")
        check_integer("max_forwards", max_forwards, minimum=1)
        if max_thoughts is not None:
            check_integer("max_thoughts", max_thoughts, minimum=1)
        check_integer("summary_tokens", summary_tokens, minimum=1)
        check_integer("hold_after_interrupt", hold_after_interrupt, minimum=0)
        if earlier_thoughts not in EARLIER_THOUGHTS:
            raise UnknownNameError("treatment of earlier thoughts", earlier_thoughts, EARLIER_THOUGHTS)
        super().__init__(tokenizer)
        self.problem, self.arrangement = problem, Arrangement(arrangement)
        self.policy = make_policy(policy)
        self.safety = None if safety is None else Safety(**safety.to_dict())
        self.prompts = prompts or async_prompts(tokenizer, arrangement)
        self.max_forwards, self.max_thoughts = max_forwards, max_thoughts
        self.turns, self.earlier_thoughts, self.summary_tokens = turns, earlier_thoughts, summary_tokens
        self.hold_after_interrupt = hold_after_interrupt
        self._rule = rule or StepRule()
        self._encoded = EncodedPrompts(self.prompts, problem, tokenizer)
        own_end = getattr(tokenizer, "eos_token_id", None)
        self._end_tokens = {*end_tokens, *(() if own_end is None else (own_end,))}
        sampling = sampling or SamplingParams()
        self._samplings = {THINKER: sampling, WRITER: writer_sampling or sampling}
        self._clock, self._began = clock, clock()

        self._thinker = Stream(THINKER, blocks.THOUGHTS, tokenizer, self._rule)
        self._writer = Stream(WRITER, blocks.ANSWER, tokenizer, self._rule)
        self._input = Stream("user", blocks.INPUT, tokenizer, self._rule)
        self._summary = Stream(THINKER, blocks.SUMMARY, tokenizer, self._rule)
        self._streams = {THINKER: self._thinker, WRITER: self._writer}
        self.mode = THINKER_ONLY
        self._forwards = self._thoughts = self._in_mode = self._hold = 0
        self._forced = self._finishing = self._prefilled = False
        self._broken_off = False  # the answer of the turn that is over was not heard to its end
        self._answer_ended = False  # the writer has just ended; it may yet go on
        self._split_written = not self.policy.in_order
        self._ask: Ask | None = None
        self._deferred: list[Push] = []
        self._operations: deque[tuple[str, ...]] = deque()
        self._received: Sequence[Result] | None = (
            None  # results that have been dealt with, but for operations
        )
        self._told: list[Event] = []  # events that are not out yet
        self._restored = False

    # ------------------------------------------------------------------ the engine's side

    @property
    def answer(self) -> str:
        """What the writer has said in this turn."""
        return self._writer.public

    @property
    def thoughts(self) -> str:
        """What the thinker has said in this turn."""
        return self._thinker.public

    @property
    def waiting(self) -> bool:
        """Whether there is nothing to do before the user says something."""
        return self.mode == WAITING and self._prefilled and not self._plan()

    def sampling(self, worker: str) -> SamplingParams:
        """Settings of `worker`, with the control tokens forbidden that it must not sample."""
        forbidden = set(self._encoded.forbidden)
        closing = self._encoded.closing
        if closing is not None and (worker == WRITER or self.policy.forbids_closing):
            forbidden.add(closing)
        own = self._samplings[worker]
        forbidden -= self._end_tokens
        return own.replace(forbidden_tokens=tuple(sorted({*own.forbidden_tokens, *forbidden})))

    def start(self, store: BlockStore) -> list[Event]:
        self._store, self._began = store, self._clock()
        events: list[Event] = [self._start_event()]
        if self._restored:
            self._check_blocks()
            return [*events, ModeEvent(mode=self.mode), *self._thinker.events(), *self._writer.events()]
        for block in self.arrangement.block_names:
            store.create(block)
        for block in self.arrangement.stubs:
            store.create(block)
        self._input.say(self._encoded.input, "inserted")
        events.extend(self._open_streams())
        return [*events, *self._begin_mode()]

    def _start_event(self) -> StartEvent:
        return StartEvent(
            protocol=self.name,
            problem=self.problem,
            workers=list(self.workers),
            layout=self.arrangement.name,
            prompt=self._tokenizer.decode(list(self._encoded.thinker_prompt)),
            settings={
                "max_forwards": self.max_forwards,
                "policy": self.policy.name,
                "policy_settings": self.policy.settings(),
                "safety": self.safety is not None,
                "turns": self.turns,
                "sampling": self.sampling(WRITER).to_dict(),
            },
        )

    def _check_blocks(self) -> None:
        """Refuse to go on with blocks that do not hold what the streams say."""
        for stream in (self._thinker, self._writer, self._input, self._summary):
            if not self._prefilled:
                break
            if self._store.tokens(stream.block) != stream.tokens[: stream.written]:
                raise BlockError(
                    f"blocks: block {stream.block!r} does not hold what the restored run wrote to it"
                )

    def feeds(self) -> list[Feed]:
        return [feed for _, feed in self._plan()]

    def listen(self) -> list[Event]:
        self._run_operations()
        self._hear_all()
        if not self.finished:
            self._apply_ready()
        self._run_operations()
        return self._take_told()

    def receive(self, results: Sequence[Result]) -> list[Event]:
        if self._received is not results:  # not a repeated call, after a full pool
            self._take(results)
            self._received = results
        self._run_operations()
        self._received = None
        return self._take_told()

    def _take_told(self) -> list[Event]:
        events, self._told = self._told, []
        return events

    def _plan(self) -> list[Planned]:
        """What the next forward writes, each with what it is."""
        reply: tuple[int, ...] = ()
        if self.turns and self.earlier_thoughts != "kept":
            folded = self.earlier_thoughts == "folded"
            reply = self._encoded.thoughts_tag if folded else self._encoded.plain_reply
        return plan_feeds(
            Standing(
                arrangement=self.arrangement,
                encoded=self._encoded,
                mode=self.mode,
                thinker=self._thinker,
                writer=self._writer,
                input=self._input,
                summary=self._summary,
                ask=self._ask,
                prefilled=self._prefilled,
                reply=reply,
                in_order=self.policy.in_order,
                split_written=self._split_written,
                measures_writer=self._may_pause and self.policy.wants_entropy,
            )
        )

    @property
    def _may_pause(self) -> bool:
        return self.mode == THINKER_AND_WRITER and not self._forced

    # ------------------------------------------------------------------ what comes back

    def _take(self, results: Sequence[Result]) -> None:
        plan = self._plan()
        sampled: dict[str, Result] = {}
        answer: Answer | None = None
        for (what, feed), result in zip(plan, results, strict=True):
            if result.token is not None:
                sampled[what] = result
            if result.probe or what == plans.SIDE:
                yes, no = result.probe or (0.0, 0.0)
                answer = Answer(yes, no, result.entropy or 0.0)
            self._note_written(what, feed)
        if plan and plan[0][0] == plans.PREFILL:
            self._finish_prefill()
        elif self.mode == FOLDING:
            self._fold(sampled)
        elif self.mode != WAITING:
            self._advance(sampled, answer)

    def _note_written(self, what: str, feed: Feed) -> None:
        if what == plans.SIDE:
            self._store.clear(blocks.SIDE)
        elif what == plans.USER_INPUT:
            self._input.written += len(feed.tokens)
        elif what == plans.SPLIT:
            self._split_written = True
        elif what == plans.SUMMARY:
            self._summary.written += len(feed.tokens)
        elif what in self._streams:
            stream = self._streams[what]
            if feed.probe:  # the question was written behind what the stream had said
                assert self._ask is not None
                self._say(stream, self._encoded.question(self._ask), "inserted")
            stream.written += len(feed.tokens)

    def _finish_prefill(self) -> None:
        self._prefilled = True
        self._input.written = len(self._input.said)
        for stream in self._streams.values():
            stream.written = self._store.length(stream.block)
        for stub in self.arrangement.stubs:
            self._store.drop(stub)

    def _advance(self, sampled: dict[str, Result], answer: Answer | None) -> None:
        """The state machine, after one forward of a turn."""
        self._forwards += 1
        self._in_mode += 1
        self._hold = max(0, self._hold - 1)
        self._thoughts += THINKER in sampled
        if THINKER in sampled:
            self._take_thought(sampled[THINKER])
        unsure = ended = False
        if WRITER in sampled:
            unsure = self._may_pause and self.policy.is_unsure(sampled[WRITER].entropy or 0.0)
            ended = not unsure and self._take_word(sampled[WRITER])
        if unsure:  # the token was never said: the one before it is fed again when the writer goes on
            self._make_pending(self._writer)
        if ended:
            self._end_answer("eos")
        elif self._forwards >= self.max_forwards:
            self._end_answer("max_forwards")
        else:
            self._apply_ready()
            self._decide(sampled, answer, unsure)

    def _take_thought(self, result: Result) -> None:
        assert result.token is not None
        if result.token == self._encoded.closing or result.token in self._end_tokens:
            self._thinker.closed = True
            return
        self._say(self._thinker, [result.token], "sampled")
        self._thinker.closed = self._take_back_stop(self._thinker)
        if self.max_thoughts is not None and self._thoughts >= self.max_thoughts:
            self._thinker.closed = True

    def _take_word(self, result: Result) -> bool:
        """A token of the writer; whether it ends the answer."""
        assert result.token is not None
        if result.token in self._end_tokens:
            return True
        self._say(self._writer, [result.token], "sampled")
        if self._writer.ended_paragraph:
            self._forced = False
        return self._take_back_stop(self._writer)

    def _take_back_stop(self, stream: Stream) -> bool:
        """Whether the stream has begun a next request, as base models do; that is taken back."""
        place = stream.find(self.prompts.stop)
        if place is not None:
            self._cut(stream, place)
        return place is not None

    def _make_pending(self, stream: Stream) -> None:
        """A stream that is to go on needs a token to go on from: if all are written, the last one once more."""
        if not stream.queue and not stream.closed:
            stream.written -= 1
            self._store.crop(stream.block, stream.written)

    # ------------------------------------------------------------------ decisions

    def _decide(self, sampled: dict[str, Result], answer: Answer | None, unsure: bool) -> None:
        moment = Moment(
            mode=self.mode,
            in_mode=self._in_mode,
            thinker_paragraph=THINKER in sampled and self._thinker.ended_paragraph,
            writer_paragraph=WRITER in sampled and not unsure and self._writer.ended_paragraph,
        )
        decision: Decision = Pause() if unsure else None
        if self._ask is not None and answer is not None:
            ask, self._ask = self._ask, None
            decision = self._answered(ask, answer, moment) or decision
        if decision is None and self._ask is None:
            decision = self._consult(moment)
        self._follow(decision)
        self._keep_going()

    def _consult(self, moment: Moment) -> Decision:
        if self.safety is not None:
            ask = self.safety.ask(self.mode, moment.thinker_paragraph, self._thinker.closed)
            if ask is not None:
                return ask
        if self._held or self.mode == WRITER_ONLY or (self._forced and moment.mode == THINKER_AND_WRITER):
            return None
        return self.policy.decide(moment)

    @property
    def _held(self) -> bool:
        return self._hold > 0 or (self.safety is not None and self.safety.holds)

    def _answered(self, ask: Ask, answer: Answer, moment: Moment) -> Decision:
        if ask.question in ("request", "answer"):
            return self._judged(ask, answer)
        decision = self.policy.answered(ask, answer, moment)
        if ask.question == "unsure":
            yes = isinstance(decision, Speak)
        else:
            yes = answer.yes > answer.no
        self._tell_probe(ask, answer, yes)
        if ask.in_stream:
            stream = self._streams[ask.worker]
            self._told.append(InterventionEvent(worker=ask.worker, text=self._encoded.question_text(ask)))
            self._say(stream, self._encoded.yes if yes else self._encoded.no, "inserted")
        return None if self._held else decision

    def _judged(self, ask: Ask, answer: Answer) -> Decision:
        """What the safety mode makes of an answer."""
        assert self.safety is not None
        harmless = self.safety.judge(ask, answer, self._thinker.closed)
        if harmless is None:
            return None
        self._tell_probe(ask, answer, harmless)
        if not harmless:
            if ask.question == "answer":
                self._stop_writer(self._paragraph_start())
            self._tell_thinker(self._encoded.refusal_note)
        if ask.question == "request" and harmless and self.policy.first_mode != THINKER_ONLY:
            return Speak()
        return None if harmless and not self._thinker.closed else Speak()

    def _tell_probe(self, ask: Ask, answer: Answer, yes: bool) -> None:
        measured = ask.question == "unsure"
        self._told.append(
            ProbeEvent(
                worker=ask.worker,
                question=ask.question,
                yes=0.0 if measured else _probability(answer.yes),
                no=0.0 if measured else _probability(answer.no),
                entropy=answer.entropy,
                verdict="yes" if yes else "no",
            )
        )

    def _follow(self, decision: Decision) -> None:
        if isinstance(decision, Ask):
            self._ask = decision
            if decision.question == "unsure":
                self._make_pending(self._writer)
        elif isinstance(decision, Speak):
            self._set_mode(THINKER_AND_WRITER)
        elif isinstance(decision, Pause) and self._may_pause:
            self._set_mode(THINKER_ONLY)

    def _keep_going(self) -> None:
        """See to it that somebody is active, and that the writer is not silent for too long."""
        if self._thinker.closed:
            if self.safety is None or not self.safety.holds:
                self._hold = 0
                self._set_mode(WRITER_ONLY)
            elif self._ask is None:
                self._ask = Ask("request", THINKER)
            return
        limit = self.policy.longest_silence
        if limit is not None and self.mode == THINKER_ONLY and self._in_mode >= limit and not self._held:
            self._set_mode(THINKER_AND_WRITER)
            self._forced = True

    def _set_mode(self, mode: str) -> None:
        if mode == THINKER_AND_WRITER and self._thinker.closed:
            mode = WRITER_ONLY
        if mode == self.mode:
            return
        self.mode, self._in_mode = mode, 0
        if mode != THINKER_AND_WRITER:
            self._forced = False
        if self._ask is not None and self._ask.question not in ("request", "answer"):
            if mode == WRITER_ONLY or (self._ask.question == "unsure" and WRITER in ACTIVE[mode]):
                self._ask = None  # there is nothing left to decide by it
        for worker in ACTIVE[mode]:
            self._make_pending(self._streams[worker])
        self._told.append(ModeEvent(mode=mode))

    # ------------------------------------------------------------------ listening

    def _hear_all(self) -> None:
        messages = self.inbox.take()
        for index, message in enumerate(messages):
            if self.finished:
                self._lose(messages[index:])
                return
            self._hear(message)

    def _hear(self, message: Message) -> None:
        if isinstance(message, Push):
            self._deferred.append(message)
            self._apply_ready()  # before whatever was said after it
        elif isinstance(message, Interrupt):
            self._interrupted(message)
        elif isinstance(message, Finish):
            self._finish()
        else:
            self._end("cancelled")

    def _finish(self) -> None:
        self._finishing = True
        if self.mode in (WAITING, FOLDING):
            self._end("eos")
            return
        self._thinker.closed = True
        self._ask = None
        self._keep_going()

    def _interrupted(self, message: Interrupt) -> None:
        place = self._writer.place_of(message.character, message.seconds)
        heard_all = place == len(self._writer.said)
        if not self._writer.public or (self._answer_ended and heard_all):
            return
        if self.mode in (WAITING, FOLDING):
            self._cut(self._writer, place)
            self._broken_off = self._broken_off or not heard_all
        elif self._finishing or self.policy.first_mode == WRITER_ONLY:  # nobody is there to think on
            self._cut(self._writer, place)
            self._broken_off = True
            self._end_turn("eos")
        else:
            self._stop_writer(place)
            self._tell_thinker(self._encoded.interrupt_note)
            self._hold = self.hold_after_interrupt

    def _stop_writer(self, place: int) -> None:
        """Roll the answer back to token `place`, and be silent from there."""
        self._ask = None
        self._cut(self._writer, place)
        self._say(self._writer, self._encoded.interrupted, "inserted")
        self._set_mode(THINKER_ONLY)

    def _paragraph_start(self) -> int:
        """Index of the token of the writer behind its last finished paragraph."""
        text = self._writer.public
        start = text.rfind("\n\n", 0, len(text.rstrip())) + 2
        return self._writer.place_of(start if start > 1 else 0, None)

    def _cut(self, stream: Stream, place: int) -> None:
        dropped = stream.cut(place)
        if self._store.length(stream.block) > stream.written:
            self._store.crop(stream.block, stream.written)
        if dropped:
            text = "".join(said.text for said in dropped)
            self._told.append(RollbackEvent(worker=stream.worker, tokens=len(dropped), text=text))

    def _apply_ready(self, all_of_them: bool = False) -> None:
        """Let pushed texts take effect whose moment has come, each with those before it to the same place."""
        if not self._prefilled:
            return
        if self.mode in (WAITING, FOLDING):
            first = next((push for push in self._deferred if push.to == "input"), None)
            if first is None or self.mode == FOLDING or self._plan():
                return
            self._deferred.remove(first)
            self._open_turn(first)
        last = {
            push.to: index
            for index, push in enumerate(self._deferred)
            if all_of_them or self._stream_of(push).at(push.at)
        }
        ready = [push for index, push in enumerate(self._deferred) if index <= last.get(push.to, -1)]
        self._deferred = [push for index, push in enumerate(self._deferred) if index > last.get(push.to, -1)]
        for push in ready:
            self._apply(push)

    def _stream_of(self, push: Push) -> Stream:
        """The stream whose pauses a push waits for."""
        if push.to == WRITER or (push.to == "input" and self._thinker.closed):
            return self._writer
        return self._thinker

    def _apply(self, push: Push) -> None:
        self._told.append(InputEvent(text=push.text, to=push.to))
        if push.to == WRITER:
            self._say(self._writer, push.tokens, "pushed")
        elif push.to == THINKER:
            self._tell_thinker(push.tokens, "pushed")
        else:
            self._input.say((*self._encoded.input_lead, *push.tokens), "pushed")
            if self.policy.first_mode != WRITER_ONLY:  # else there is no thinker to be told
                self._tell_thinker(self._encoded.input_note)
            self._hold = 0

    def _tell_thinker(self, tokens: Sequence[int], source: str = "inserted") -> None:
        """Insert something into the thoughts, which go on with it if they had ended."""
        self._say(self._thinker, tokens, source)
        if self._thinker.closed and not self._finishing and self.policy.first_mode != WRITER_ONLY:
            self._thinker.closed = False
            if self.mode == WRITER_ONLY:
                self._set_mode(THINKER_AND_WRITER)

    def _say(self, stream: Stream, tokens: Sequence[int], source: str) -> None:
        self._told.extend(stream.say(tokens, source, self._clock() - self._began))

    # ------------------------------------------------------------------ turns, and the end

    def _end_answer(self, reason: str) -> None:
        """The writer has ended, or the limit is reached. What was pushed meanwhile is not lost."""
        if reason != "eos" or (self.turns and not self._finishing):
            self._end_turn(reason)
            return
        self._answer_ended = True
        before = len(self._told)
        while not self.finished:
            self._hear_all()
            if not self.finished:
                self._apply_ready(all_of_them=True)
            went_on = any(isinstance(event, (InputEvent, RollbackEvent)) for event in self._told[before:])
            if self.finished or went_on:
                break
            if self.inbox.close_if_empty():
                self._end_turn(reason)
        self._answer_ended = False
        if not self.finished:
            if not self._writer.queue:  # its end was not written; it goes on in a new paragraph
                self._say(self._writer, self._encoded.separator, "pushed")
            self._ask = None
            if not self._thinker.closed:
                self._set_mode(THINKER_ONLY)

    def _end_turn(self, reason: str) -> None:
        answer = self._writer.public
        self._told.append(AnswerEvent(worker=WRITER, text=find_boxed(answer) or answer.strip()))
        self._ask, self._hold, self._forced = None, 0, False
        if not self.turns or self._finishing:
            self._end(reason)
            return
        if self.earlier_thoughts == "folded":
            self._summary.clear()
            self._store.clear(blocks.SUMMARY)
            self._told.append(InterventionEvent(worker=THINKER, text=self.prompts.summary_question))
            self._say(self._summary, self._encoded.summary_question, "inserted")
            self._set_mode(FOLDING)
        else:
            self._set_mode(WAITING)

    def _fold(self, sampled: dict[str, Result]) -> None:
        """One more token of the summary."""
        if plans.SUMMARY not in sampled:  # what was left of the streams has been written
            return
        token = sampled[plans.SUMMARY].token
        assert token is not None
        if token == self._encoded.closing or token in self._end_tokens:
            self._set_mode(WAITING)
            return
        self._say(self._summary, [token], "sampled")
        length = len(self._summary.said) - len(self._encoded.summary_question)
        if self._summary.ended_paragraph or length >= self.summary_tokens:
            self._set_mode(WAITING)

    def _open_turn(self, push: Push) -> None:
        """Move the last turn to the history, and begin the next with what the user said."""
        self._operations.extend(closing_operations(self.earlier_thoughts, self.policy.in_order))
        for stream in (self._input, *self._streams.values(), self._summary):
            stream.clear()
        lead = self._encoded.interrupted if self._broken_off else ()
        self._broken_off, self._split_written = False, not self.policy.in_order
        self._input.say((*lead, *self._encoded.next_turn), "inserted")
        self._input.say(push.tokens, "pushed")
        self._told.append(InputEvent(text=push.text))
        self._told.extend(self._open_streams())
        self._forwards = self._thoughts = 0
        self.policy.restart()
        if self.safety is not None:
            self.safety.restart()
        self._told.extend(self._begin_mode())

    def _open_streams(self) -> list[Event]:
        """Both streams with what they begin with."""
        return [
            *self._thinker.say(self._encoded.thoughts_opening, "inserted"),
            *self._writer.say(self._encoded.answer_opening, "inserted"),
        ]

    def _begin_mode(self) -> list[Event]:
        self.mode = THINKER_ONLY if self._held else self.policy.first_mode
        self._in_mode = 0
        self._thinker.closed = self.policy.first_mode == WRITER_ONLY
        self._ask = Ask("request", THINKER) if self._held and self._thinker.closed else None
        return [ModeEvent(mode=self.mode)]

    def _run_operations(self) -> None:
        """Block operations that are due; a full pool stops them, and the next call goes on."""
        while self._operations:
            run_operation(self._store, self._operations[0])
            self._operations.popleft()

    def _end(self, reason: str) -> None:
        self.finish_reason = reason
        self.stop()

    def stop(self) -> None:
        self._lose([*self._deferred, *self.inbox.close()])
        self._deferred = []


def _probability(logprob: float) -> float:
    """Between 0 and 1, also where rounding gave a little more."""
    return min(1.0, math.exp(logprob)) if logprob < 0 else 1.0
