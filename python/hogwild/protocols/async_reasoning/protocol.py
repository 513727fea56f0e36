"""Asynchronous reasoning: a thinker and a writer at the same time, and a user who may speak meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import torch

from hogwild.cache.store import BlockStore
from hogwild.engine.checks import check_flag, check_integer, check_kind, check_text, token_ids
from hogwild.engine.events import Event, ModeEvent, StartEvent
from hogwild.engine.feed import Feed, Result
from hogwild.engine.sampling import SamplingParams
from hogwild.errors import UnknownNameError
from hogwild.prompting import AsyncPrompts, StepRule, async_prompts
from hogwild.protocols.async_reasoning import arrangement as blocks
from hogwild.protocols.async_reasoning import plan as plans
from hogwild.protocols.async_reasoning.arrangement import Arrangement
from hogwild.protocols.async_reasoning.conversation import Conversation
from hogwild.protocols.async_reasoning.encoded import EncodedPrompts
from hogwild.protocols.async_reasoning.hearing import Hearing
from hogwild.protocols.async_reasoning.listener import Listener
from hogwild.protocols.async_reasoning.modes import FOLDING, THINKER, THINKER_ONLY, WAITING, WRITER
from hogwild.protocols.async_reasoning.plan import Planned, Standing, plan_feeds
from hogwild.protocols.async_reasoning.policies import Answer, Policy, make_policy
from hogwild.protocols.async_reasoning.safety import Safety
from hogwild.protocols.async_reasoning.streams import Streams
from hogwild.protocols.async_reasoning.switch import Switch
from hogwild.protocols.async_reasoning.turns import EARLIER_THOUGHTS
from hogwild.protocols.plain_tokens import characters_of_ends, plain_tokens

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
        max_length: most tokens that a view may hold; None: any number. Longer texts are refused by `push`.
        clock: gives seconds, for interruptions by time.

    Raises:
        ValueError, TypeError, UnknownNameError: an argument is not what it should be; it is named.
    """

    name = "async_reasoning"
    workers = (THINKER, WRITER)

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
        max_length: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_text("problem", problem)
        for what, value, kind in (
            ("prompts", prompts, AsyncPrompts),
            ("sampling", sampling, SamplingParams),
            ("writer_sampling", writer_sampling, SamplingParams),
            ("rule", rule, StepRule),
            ("safety", safety, Safety),
        ):
            check_kind(what, value, kind)
        check_flag("turns", turns)
        if not callable(clock):
            raise TypeError(f"clock: expected a function that gives seconds, got {clock!r}")
        check_integer("max_forwards", max_forwards, minimum=1)
        if max_thoughts is not None:
            check_integer("max_thoughts", max_thoughts, minimum=1)
        if max_length is not None:
            check_integer("max_length", max_length, minimum=1)
        check_integer("summary_tokens", summary_tokens, minimum=1)
        check_integer("hold_after_interrupt", hold_after_interrupt, minimum=0)
        if earlier_thoughts not in EARLIER_THOUGHTS:
            raise UnknownNameError("treatment of earlier thoughts", earlier_thoughts, EARLIER_THOUGHTS)
        super().__init__(tokenizer)
        self.problem, self.arrangement = problem, Arrangement(arrangement)
        self.policy = make_policy(policy)
        self.safety = None if safety is None else Safety(**safety.to_dict())
        self.prompts = prompts or async_prompts(tokenizer, arrangement)
        self.max_forwards, self.max_thoughts, self.max_length = max_forwards, max_thoughts, max_length
        self.turns, self.earlier_thoughts, self.summary_tokens = turns, earlier_thoughts, summary_tokens
        self.hold_after_interrupt = hold_after_interrupt
        self._rule = rule or StepRule()
        self._encoded = EncodedPrompts(self.prompts, problem, tokenizer)
        own_end = getattr(tokenizer, "eos_token_id", None)
        self._end_tokens = {*token_ids("end_tokens", end_tokens), *(() if own_end is None else (own_end,))}
        sampling = sampling or SamplingParams()
        self._samplings = {THINKER: sampling, WRITER: writer_sampling or sampling}
        self._streams = Streams(tokenizer, self._rule, clock)
        self._switch = Switch(self.policy, self.safety, self._encoded, self._streams)
        self._conversation = Conversation(
            self.prompts,
            self._encoded,
            self.policy,
            self.safety,
            self._streams,
            self._switch,
            turns=turns,
            earlier_thoughts=earlier_thoughts,
            summary_tokens=summary_tokens,
            end=self._end,
        )
        self._hearing = Hearing(
            self.inbox,
            self._encoded,
            self._streams,
            self._switch,
            self._conversation,
            hold_after_interrupt=hold_after_interrupt,
            end=self._end,
        )
        # results that have been dealt with, but for operations
        self._received: Sequence[Result] | None = None
        self._restored = False  # and not resumed yet

    @property
    def mode(self) -> str:
        """One of "thinker_only", "thinker_and_writer", "writer_only"; between turns "folding", "waiting"."""
        return self._switch.mode

    @property
    def answer(self) -> str:
        """What the writer has said in this turn."""
        return self._streams.writer.public

    @property
    def thoughts(self) -> str:
        """What the thinker has said in this turn."""
        return self._streams.thinker.public

    @property
    def waiting(self) -> bool:
        """Whether there is nothing to do before the user says something."""
        return self.mode == WAITING and self._streams.prefilled and not self._streams.unwritten

    @property
    def _prompt_length(self) -> int:
        prompts = {
            blocks.THINKER_PROMPT: self._encoded.thinker_prompt,
            blocks.WRITER_PROMPT: self._encoded.writer_prompt,
        }
        return min(len(prompts[name]) for name in prompts if name in self.arrangement.block_names)

    # ------------------------------------------------------------------ the engine's side

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
        streams = self._streams
        streams.begin(store)
        streams.told.append(self._start_event())
        if self._restored:
            return streams.take_told()
        for block in (*self.arrangement.block_names, *self.arrangement.stubs):
            store.create(block)
        streams.input.say(self._encoded.input, "inserted")
        self._conversation.begin()
        return streams.take_told()

    def resume(self) -> list[Event]:
        """Go on, if it was restored: its blocks are there now. The first events show the streams as they are.

        Raises:
            BlockError: a block does not hold what was written to it.
        """
        streams = self._streams
        streams.check_blocks()
        self._restored = False
        told: list[Event] = [ModeEvent(mode=self.mode), *streams.thinker.events(), *streams.writer.events()]
        return [*told, self._conversation.answer_event()] if self._conversation.over else told

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

    def listen(self) -> list[Event]:
        if self._restored:
            return []
        self._conversation.run_operations()
        self._hearing.hear()
        self._conversation.run_operations()
        return self._streams.take_told()

    def feeds(self) -> list[Feed]:
        return [feed for _, feed in self._plan()]

    def plain_tokens(self) -> torch.Tensor | None:
        conversation, streams = self._conversation, self._streams
        if self._restored or conversation.over or not streams.prefilled or self._hearing.deferred:
            return None
        limit = self.max_thoughts
        last_thought = limit is not None and conversation.thoughts + 1 >= limit and not streams.thinker.closed
        if last_thought or conversation.forwards + 1 >= self.max_forwards or not self._switch.stays():
            return None
        return self._plain

    @cached_property
    def _plain(self) -> torch.Tensor | None:
        ends = characters_of_ends(self._rule)
        if ends is None:
            return None
        stops = "".join(text[-1:] for text in self.prompts.stop)
        closing = self._encoded.closing
        return plain_tokens(
            self._tokenizer, ends + stops, {*self._end_tokens, *(() if closing is None else (closing,))}
        )

    def _plan(self) -> list[Planned]:
        """What the next forward writes, each with what it is."""
        if self._restored:
            return []
        streams = self._streams
        return plan_feeds(
            Standing(
                arrangement=self.arrangement,
                encoded=self._encoded,
                mode=self.mode,
                thinker=streams.thinker,
                writer=streams.writer,
                input=streams.input,
                summary=streams.summary,
                ask=self._switch.ask,
                prefilled=streams.prefilled,
                reply=self._conversation.reply,
                in_order=self.policy.in_order,
                split_written=self._conversation.split_written,
                so_far=streams.store.length(blocks.SO_FAR),
                measures_writer=self._switch.may_pause and self.policy.wants_entropy,
            )
        )

    def receive(self, results: Sequence[Result]) -> list[Event]:
        if self._received is not results:  # not a repeated call, after a full pool
            self._take(results)
            self._received = results
        self._conversation.run_operations()
        self._received = None
        return self._streams.take_told()

    # ------------------------------------------------------------------ what comes back

    def _take(self, results: Sequence[Result]) -> None:
        plan = self._plan()
        sampled: dict[str, Result] = {}
        answer: Answer | None = None
        left_out = False
        for (what, feed), result in zip(plan, results, strict=True):
            if result.token is not None:
                sampled[what] = result
            left_out |= result.left_out
            if result.probe or (what == plans.SIDE and not result.left_out):
                yes, no = result.probe or (0.0, 0.0)
                answer = Answer(yes, no, result.entropy or 0.0)
            self._note_written(what, feed)
        if plan and plan[0][0] == plans.PREFILL:
            self._streams.note_prefilled(self.arrangement.stubs)
        elif self.mode == FOLDING:
            if plans.SUMMARY in sampled:  # else what was left of the streams has been written
                token = _token(sampled[plans.SUMMARY])
                self._conversation.fold(None if self._ends_thoughts(token) else token)
        elif self.mode != WAITING:
            self._advance(sampled, answer, left_out)

    def _note_written(self, what: str, feed: Feed) -> None:
        streams = self._streams
        if what == plans.SIDE:
            streams.store.clear(blocks.SIDE)
        elif what == plans.USER_INPUT:
            streams.input.written += len(feed.tokens)
        elif what == plans.SPLIT:
            self._conversation.split_written = True
        elif what == plans.SUMMARY:
            streams.summary.written += len(feed.tokens)
        elif what in streams.by_worker:
            stream = streams.by_worker[what]
            if feed.probe:  # the question was written behind what the stream had said
                assert self._switch.ask is not None
                streams.say(stream, self._encoded.question(self._switch.ask), "inserted")
            stream.written += len(feed.tokens)

    def _advance(self, sampled: dict[str, Result], answer: Answer | None, left_out: bool) -> None:
        """The state machine, after one forward of a turn."""
        self._conversation.forwards += 1
        self._switch.pass_forward()
        if THINKER in sampled:
            self._conversation.thoughts += 1
            self._take_thought(_token(sampled[THINKER]))
        unsure = ended = False
        if WRITER in sampled:
            unsure = self._switch.is_unsure(sampled[WRITER].entropy or 0.0)
            ended = not unsure and self._take_word(_token(sampled[WRITER]))
        if unsure:  # the token was never said: the one before it is fed again when the writer goes on
            self._streams.make_pending(self._streams.writer)
        if ended:
            self._end_answer()
        elif self._conversation.forwards >= self.max_forwards:
            self._conversation.end_turn("max_forwards")
        else:
            self._hearing.apply_ready()
            self._switch.decide(sampled, answer, unsure, left_out)

    def _take_thought(self, token: int) -> None:
        thinker = self._streams.thinker
        if self._ends_thoughts(token):
            thinker.closed = True
            return
        self._streams.say(thinker, [token], "sampled")
        # base models begin a next request
        thinker.closed = self._streams.cut_at(thinker, self.prompts.stop)
        if self.max_thoughts is not None and self._conversation.thoughts >= self.max_thoughts:
            thinker.closed = True

    def _ends_thoughts(self, token: int) -> bool:
        return token == self._encoded.closing or token in self._end_tokens

    def _take_word(self, token: int) -> bool:
        """A token of the writer; whether it ends the answer."""
        writer = self._streams.writer
        if token in self._end_tokens:
            return True
        self._streams.say(writer, [token], "sampled")
        self._switch.note_word()
        if writer.ended_paragraph:
            self._switch.forced = False
        return self._streams.cut_at(writer, self.prompts.stop)

    def _end_answer(self) -> None:
        """The writer has ended. What was pushed while it drew its last token is not lost."""
        if self._conversation.goes_on or not self._hearing.hear_last():
            if not self.finished:
                self._conversation.end_turn("eos")
            return
        if self.finished:
            return
        streams = self._streams
        if not streams.writer.queue:  # its end was not written; it goes on in a new paragraph
            streams.say(streams.writer, self._encoded.separator, "pushed")
        self._switch.ask = None
        if not streams.thinker.closed:
            self._switch.set_mode(THINKER_ONLY)

    # ------------------------------------------------------------------ the end

    def _end(self, reason: str) -> None:
        self.finish_reason = reason
        self.stop()

    def stop(self) -> None:
        self._lose([*self._hearing.deferred, *self.inbox.close()])
        self._hearing.deferred = []


def _token(result: Result) -> int:
    assert result.token is not None
    return result.token
