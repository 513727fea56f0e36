"""Which streams are active: the modes of a turn, and the decisions that lead from one to the next."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from hogwild.engine.events import InterventionEvent, ModeEvent, ProbeEvent
from hogwild.protocols.async_reasoning.encoded import EncodedPrompts
from hogwild.protocols.async_reasoning.modes import (
    ACTIVE,
    THINKER,
    THINKER_AND_WRITER,
    THINKER_ONLY,
    WRITER,
    WRITER_ONLY,
)
from hogwild.protocols.async_reasoning.policies import (
    Answer,
    Ask,
    Decision,
    Moment,
    Pause,
    Policy,
    Speak,
)
from hogwild.protocols.async_reasoning.safety import Safety
from hogwild.protocols.async_reasoning.streams import Streams

_STATE = ("mode", "in_mode", "silent", "hold", "forced", "finishing")


class Switch:
    """Switches the writer on and off, as the policy says and the safety mode allows.

    Attributes:
        mode: the mode of the run.
        in_mode: forwards since it began.
        silent: forwards since the writer last said something, or since the turn began.
        hold: forwards for which the writer stays silent after an interruption.
        forced: whether the writer speaks because it was silent for too long.
        finishing: whether the thoughts are over for good.
    """

    def __init__(
        self, policy: Policy, safety: Safety | None, encoded: EncodedPrompts, streams: Streams
    ) -> None:
        self._policy, self._safety, self._encoded, self._streams = policy, safety, encoded, streams
        self.mode = THINKER_ONLY
        self.in_mode = self.silent = self.hold = 0
        self.forced = self.finishing = False
        self._ask: Ask | None = None

    @property
    def ask(self) -> Ask | None:
        """The question that the next forward asks."""
        return self._ask

    @ask.setter
    def ask(self, ask: Ask | None) -> None:
        before, self._ask = self._ask, ask
        if before is not None and before.question == "unsure":
            self._streams.forget_so_far()
        if ask is not None and ask.question == "unsure":
            self._streams.keep_so_far()

    @property
    def thinks(self) -> bool:
        """Whether there are thoughts at all."""
        return self._policy.first_mode != WRITER_ONLY

    @property
    def may_pause(self) -> bool:
        """Whether the policy may silence the writer now."""
        return self.mode == THINKER_AND_WRITER and not self.forced

    @property
    def _held(self) -> bool:
        return self.hold > 0 or (self._safety is not None and self._safety.holds)

    def begin(self) -> None:
        """A turn begins."""
        self.mode = THINKER_ONLY if self._held else self._policy.first_mode
        self.in_mode = self.silent = 0
        self._streams.thinker.closed = not self.thinks
        self.ask = None
        if self._safety is not None and self._safety.holds and (not self.thinks or self._safety.due):
            self.ask = self._safety.request
        self._streams.told.append(ModeEvent(mode=self.mode))

    def end(self) -> None:
        """A turn is over: nothing of it is to be decided any more."""
        self.ask, self.hold, self.forced = None, 0, False

    def pass_forward(self) -> None:
        """One more forward of a turn."""
        self.in_mode += 1
        self.silent += 1
        self.hold = max(0, self.hold - 1)
        if self._safety is not None:
            self._safety.pass_forward()

    def note_word(self) -> None:
        """The writer has said something."""
        self.silent = 0

    def is_unsure(self, entropy: float) -> bool:
        """Whether the writer pauses instead of saying the token that it drew."""
        return self.may_pause and self._policy.is_unsure(entropy)

    def stays(self) -> bool:
        """Whether everything will be as it is after the forward that is computed, if no paragraph ends with it."""
        if self.ask is not None or self._safety is not None:
            return False
        limit = self._policy.longest_silence
        if self.mode == THINKER_ONLY and limit is not None and self.silent + 1 >= limit:
            return False
        if self.may_pause and self._policy.wants_entropy:
            return False
        if self.mode == WRITER_ONLY or (self.forced and self.mode == THINKER_AND_WRITER):
            return True
        moment = Moment(mode=self.mode, in_mode=self.in_mode + 1)
        return copy.deepcopy(self._policy).decide(moment) is None  # it may count

    # ------------------------------------------------------------------ decisions

    def decide(
        self, sampled: Collection[str], answer: Answer | None, unsure: bool, left_out: bool = False
    ) -> None:
        """After a forward: heed the answer to an open question, or ask the policy.

        Args:
            sampled: whose tokens the forward gave.
            answer: to the open question, if it was asked.
            unsure: the writer's token was not said, see `is_unsure`.
            left_out: there was no room to ask the open question. It is given up.
        """
        moment = Moment(
            mode=self.mode,
            in_mode=self.in_mode,
            thinker_paragraph=THINKER in sampled and self._streams.thinker.ended_paragraph,
            writer_paragraph=WRITER in sampled and not unsure and self._streams.writer.ended_paragraph,
        )
        decision: Decision = Pause() if unsure else None
        went_on = True
        if self.ask is not None and (answer is not None or left_out):
            ask, self.ask = self.ask, None
            decision = self._answered(ask, answer, moment) or decision
            went_on = not ask.alone
        if decision is None and self.ask is None and went_on:
            decision = self._consult(moment)
        self._follow(decision)
        self.keep_going()

    def _consult(self, moment: Moment) -> Decision:
        if self._safety is not None:
            ask = self._safety.ask(self.mode, moment.thinker_paragraph, self._streams.thinker.closed)
            if ask is not None:
                return ask
        if self._held or self.mode == WRITER_ONLY or (self.forced and moment.mode == THINKER_AND_WRITER):
            return None
        return self._policy.decide(moment)

    def _answered(self, ask: Ask, answer: Answer | None, moment: Moment) -> Decision:
        """What follows from an answer; None: the question could not be asked."""
        if ask.question == "request" or (ask.question == "answer" and answer is not None):
            return self._judged(ask, answer)
        if answer is None:
            return None
        decision = self._policy.answered(ask, answer, moment)
        if ask.question == "unsure":
            yes = isinstance(decision, Speak)
        else:
            yes = answer.yes > answer.no
        self._tell_probe(ask, answer, yes)
        if ask.in_stream:
            stream = self._streams.by_worker[ask.worker]
            self._streams.told.append(
                InterventionEvent(worker=ask.worker, text=self._encoded.question_text(ask))
            )
            self._streams.say(stream, self._encoded.yes if yes else self._encoded.no, "inserted")
        # Who asks without end would keep all others from going on.
        if self._held or isinstance(decision, Ask):
            return None
        return decision

    def _judged(self, ask: Ask, answer: Answer | None) -> Decision:
        """What the safety mode makes of an answer."""
        assert self._safety is not None
        thinker = self._streams.thinker
        harmless = self._safety.judge(ask, answer, thinker.closed)
        if harmless is None:
            return None
        if answer is not None:
            self._tell_probe(ask, answer, harmless)
        if not harmless:
            if ask.question == "answer":
                self.stop_writer(self._streams.writer.paragraph_start)
            self.tell_thinker(self._encoded.refusal_note)
        if ask.question == "request" and harmless and self._policy.first_mode != THINKER_ONLY:
            return Speak()
        return None if harmless and not thinker.closed else Speak()

    def _tell_probe(self, ask: Ask, answer: Answer, yes: bool) -> None:
        measured = ask.question == "unsure"
        self._streams.told.append(
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
            self.ask = decision
        elif isinstance(decision, Speak):
            self.set_mode(THINKER_AND_WRITER)
        elif isinstance(decision, Pause) and self.may_pause:
            self.set_mode(THINKER_ONLY)

    def keep_going(self) -> None:
        """See to it that somebody is active, and that the writer is not silent for too long."""
        if self._streams.thinker.closed:
            if self._safety is None or not self._safety.holds:
                self.hold = 0
                self.set_mode(WRITER_ONLY)
            elif self.ask is None:
                self.ask = self._safety.request
            return
        limit = self._policy.longest_silence
        if limit is not None and self.mode == THINKER_ONLY and self.silent >= limit and not self._held:
            self.set_mode(THINKER_AND_WRITER)
            self.forced = True

    # ------------------------------------------------------------------ what follows from them

    def set_mode(self, mode: str) -> None:
        """Change the mode; who is active in it can go on."""
        if mode == THINKER_AND_WRITER and self._streams.thinker.closed:
            mode = WRITER_ONLY
        if mode == self.mode:
            return
        self.mode, self.in_mode = mode, 0
        if mode != THINKER_AND_WRITER:
            self.forced = False
        if self.ask is not None and self.ask.question not in ("request", "answer"):
            if mode == WRITER_ONLY or (self.ask.question == "unsure" and WRITER in ACTIVE[mode]):
                self.ask = None  # there is nothing left to decide by it
        for worker in ACTIVE[mode]:
            self._streams.make_pending(self._streams.by_worker[worker])
        self._streams.told.append(ModeEvent(mode=mode))

    def stop_writer(self, place: int) -> None:
        """Roll the answer back to token `place`, and be silent from there."""
        self.ask = None
        self._streams.cut(self._streams.writer, place)
        self._streams.say(self._streams.writer, self._encoded.interrupted, "inserted")
        self.set_mode(THINKER_ONLY)

    def tell_thinker(self, tokens: Sequence[int], source: str = "inserted") -> None:
        """Insert something into the thoughts, which go on with it if they had ended.

        A character that takes several tokens and is not complete is taken back, and thought anew.
        """
        thinker = self._streams.thinker
        if thinker.whole < len(thinker.said):
            self._streams.cut(thinker, thinker.whole)
        self._streams.say(thinker, tokens, source)
        if thinker.closed and not self.finishing and self.thinks:
            thinker.closed = False
            if self.mode == WRITER_ONLY:
                self.set_mode(THINKER_AND_WRITER)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without policy and safety mode."""
        ask = None if self.ask is None else asdict(self.ask)
        return {"ask": ask, **{name: getattr(self, name) for name in _STATE}}

    def load_dict(self, values: dict[str, Any]) -> None:
        """Undo `to_dict`."""
        self._ask = None if values["ask"] is None else Ask(**values["ask"])  # its blocks are as they were
        for name in _STATE:
            setattr(self, name, values[name])


def _probability(logprob: float) -> float:
    """Between 0 and 1, also where rounding gave a little more."""
    return min(1.0, math.exp(logprob)) if logprob < 0 else 1.0
