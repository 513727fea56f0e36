"""One turn after the other: how a turn ends, what becomes of its blocks, and how the next one begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from hogwild.engine.events import AnswerEvent, InputEvent, InterventionEvent
from hogwild.prompting import AsyncPrompts
from hogwild.protocols.async_reasoning.encoded import EncodedPrompts
from hogwild.protocols.async_reasoning.inbox import Push
from hogwild.protocols.async_reasoning.modes import FOLDING, WAITING, WRITER
from hogwild.protocols.async_reasoning.policies import Policy
from hogwild.protocols.async_reasoning.result import answer_in
from hogwild.protocols.async_reasoning.safety import Safety
from hogwild.protocols.async_reasoning.streams import Streams
from hogwild.protocols.async_reasoning.switch import Switch
from hogwild.protocols.async_reasoning.turns import closing_operations, run_operation

_STATE = ("forwards", "thoughts", "broken_off", "split_written")


class Conversation:
    """The turns of a run.

    Args:
        prompts, encoded: all fixed texts.
        policy, safety: begin anew with each turn.
        streams, switch: of the run.
        turns, earlier_thoughts, summary_tokens: see `AsyncReasoningProtocol`.
        end: ends the run, for a reason.

    Attributes:
        forwards: of this turn, those that only write a prompt not counted.
        thoughts: of them, those in which the thinker said something.
        broken_off: whether the answer of the turn that is over was not heard to its end.
        split_written: whether what stands between thoughts and answer is written.
    """

    def __init__(
        self,
        prompts: AsyncPrompts,
        encoded: EncodedPrompts,
        policy: Policy,
        safety: Safety | None,
        streams: Streams,
        switch: Switch,
        *,
        turns: bool,
        earlier_thoughts: str,
        summary_tokens: int,
        end: Callable[[str], None],
    ) -> None:
        self._prompts, self._encoded, self._policy, self._safety = prompts, encoded, policy, safety
        self._streams, self._switch, self._end = streams, switch, end
        self._turns, self._earlier_thoughts, self._summary_tokens = turns, earlier_thoughts, summary_tokens
        self.forwards = self.thoughts = 0
        self.broken_off = False
        self.split_written = not policy.in_order
        self._operations: deque[tuple[str, ...]] = deque()

    @property
    def over(self) -> bool:
        """Whether a turn is over, and the next has not begun."""
        return self._switch.mode in (WAITING, FOLDING)

    @property
    def goes_on(self) -> bool:
        """Whether another turn can follow."""
        return self._turns and not self._switch.finishing

    @property
    def reply(self) -> tuple[int, ...]:
        """What stands in the history before an answer whose thoughts are not kept."""
        if not self._turns or self._earlier_thoughts == "kept":
            return ()
        folded = self._earlier_thoughts == "folded"
        return self._encoded.thoughts_tag if folded else self._encoded.plain_reply

    def begin(self) -> None:
        """The streams with what they begin with, in the first mode."""
        streams = self._streams
        streams.say(streams.thinker, self._encoded.thoughts_opening, "inserted")
        streams.say(streams.writer, self._encoded.answer_opening, "inserted")
        self._switch.begin()

    def end_turn(self, reason: str) -> None:
        """The answer is complete, or as complete as it gets; `reason` is why, if the run ends with it."""
        self._streams.told.append(self.answer_event())
        self._switch.end()
        if not self.goes_on:
            self._end(reason)
        elif self._earlier_thoughts == "folded":
            summary = self._streams.summary
            summary.clear()
            self._streams.store.clear(summary.block)
            question = self._prompts.summary_question
            self._streams.told.append(InterventionEvent(worker=summary.worker, text=question))
            self._streams.say(summary, self._encoded.summary_question, "inserted")
            self._switch.set_mode(FOLDING)
        else:
            self._switch.set_mode(WAITING)

    def answer_event(self) -> AnswerEvent:
        """The turn's answer, as it is told at its end."""
        answer = self._streams.writer.public
        return AnswerEvent(worker=WRITER, text=answer_in(answer) or answer.strip())

    def fold(self, token: int | None) -> None:
        """One more token of the summary; None: its end."""
        if token is None:
            self._switch.set_mode(WAITING)
            return
        summary = self._streams.summary
        self._streams.say(summary, [token], "sampled")
        length = len(summary.said) - len(self._encoded.summary_question)
        if summary.ended_paragraph or length >= self._summary_tokens:
            self._switch.set_mode(WAITING)

    def open_turn(self, push: Push) -> None:
        """Move the last turn to the history, and begin the next with what the user said."""
        self._operations.extend(closing_operations(self._earlier_thoughts, self._policy.in_order))
        for stream in self._streams.all:
            stream.clear()
        lead = self._encoded.interrupted if self.broken_off else ()
        self.broken_off, self.split_written = False, not self._policy.in_order
        self._streams.input.say((*lead, *self._encoded.next_turn), "inserted")
        self._streams.input.say(push.tokens, "pushed")
        self._streams.told.append(InputEvent(text=push.text))
        self.forwards = self.thoughts = 0
        self._policy.restart()
        if self._safety is not None:
            self._safety.restart()
        self.begin()

    def run_operations(self) -> None:
        """Block operations that are due; a full pool stops them, and the next call goes on."""
        while self._operations:
            run_operation(self._streams.store, self._operations[0])
            self._operations.popleft()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        operations = [list(operation) for operation in self._operations]
        return {"operations": operations, **{name: getattr(self, name) for name in _STATE}}

    def load_dict(self, values: dict[str, Any]) -> None:
        """Undo `to_dict`."""
        self._operations.extend(tuple(operation) for operation in values["operations"])
        for name in _STATE:
            setattr(self, name, values[name])
