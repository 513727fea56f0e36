"""What becomes of what the user says while a run goes on."""

from __future__ import annotations

from collections.abc import Callable

from hogwild.engine.events import InputEvent, RollbackEvent
from hogwild.protocols.async_reasoning.conversation import Conversation
from hogwild.protocols.async_reasoning.encoded import EncodedPrompts
from hogwild.protocols.async_reasoning.inbox import Finish, Inbox, Interrupt, Message, Push
from hogwild.protocols.async_reasoning.modes import FOLDING, THINKER, THINKER_ONLY, WRITER
from hogwild.protocols.async_reasoning.stream import Stream
from hogwild.protocols.async_reasoning.streams import Streams
from hogwild.protocols.async_reasoning.switch import Switch


class Hearing:
    """Takes messages out of the inbox, between forwards, and lets them take effect when their moment comes.

    Args:
        inbox: where they come from.
        encoded: all fixed texts.
        streams, switch, conversation: of the run.
        hold_after_interrupt: see `AsyncReasoningProtocol`.
        end: ends the run, for a reason; it closes the inbox.

    Attributes:
        deferred: texts that wait for the end of a sentence, of a paragraph or of a turn.
    """

    def __init__(
        self,
        inbox: Inbox,
        encoded: EncodedPrompts,
        streams: Streams,
        switch: Switch,
        conversation: Conversation,
        *,
        hold_after_interrupt: int,
        end: Callable[[str], None],
    ) -> None:
        self._inbox, self._encoded, self._streams = inbox, encoded, streams
        self._switch, self._conversation, self._end = switch, conversation, end
        self._hold_after_interrupt = hold_after_interrupt
        self._answer_ended = False  # the writer has just ended; it may yet go on
        self.deferred: list[Push] = []

    def hear(self) -> None:
        """All messages that have come, and deferred texts whose moment has."""
        self._take_all()
        self.apply_ready()

    def hear_last(self) -> bool:
        """The same when the answer has ended: whether the run goes on with what came meanwhile.

        If not, the inbox is closed: whatever was accepted has been heard.
        """
        self._answer_ended = True
        before = len(self._streams.told)
        while True:
            self._take_all()
            self.apply_ready(all_of_them=True)
            told = self._streams.told[before:]
            goes_on = any(isinstance(event, (InputEvent, RollbackEvent)) for event in told)
            if goes_on or self._inbox.close_if_empty():
                break
        self._answer_ended = False
        return goes_on

    def _take_all(self) -> None:
        while (message := self._inbox.take()) is not None:
            self._take(message)

    def apply_ready(self, all_of_them: bool = False) -> None:
        """Let deferred texts take effect whose moment has come, each with those before it to the same place."""
        if not self._streams.prefilled:
            return
        if self._conversation.over:
            first = next((push for push in self.deferred if push.to == "input"), None)
            if first is None or self._switch.mode == FOLDING or self._streams.unwritten:
                return
            self.deferred.remove(first)
            self._conversation.open_turn(first)
        last = {
            push.to: index for index, push in enumerate(self.deferred) if all_of_them or self._is_due(push)
        }
        ready = [push for index, push in enumerate(self.deferred) if index <= last.get(push.to, -1)]
        self.deferred = [push for index, push in enumerate(self.deferred) if index > last.get(push.to, -1)]
        for push in ready:
            self._apply(push)

    def _is_due(self, push: Push) -> bool:
        stream = self._stream_of(push)
        if not stream.closed and stream.whole < len(stream.said):
            return False  # in the middle of a character, which is ended when the stream goes on
        return stream.at(push.at)

    def _stream_of(self, push: Push) -> Stream:
        """The stream whose pauses a text waits for."""
        if push.to == WRITER or (push.to == "input" and self._streams.thinker.closed):
            return self._streams.writer
        return self._streams.thinker

    def _apply(self, push: Push) -> None:
        self._streams.told.append(InputEvent(text=push.text, to=push.to))
        if push.to == WRITER:
            self._streams.say(self._streams.writer, push.tokens, "pushed")
        elif push.to == THINKER:
            self._switch.tell_thinker(push.tokens, "pushed")
        else:
            self._streams.input.say((*self._encoded.input_lead, *push.tokens), "pushed")
            if self._switch.thinks:
                self._switch.tell_thinker(self._encoded.input_note)
            self._switch.hold = 0

    def _take(self, message: Message) -> None:
        if isinstance(message, Push):
            self.deferred.append(message)
            self.apply_ready()  # before whatever was said after it
        elif isinstance(message, Interrupt):
            self._interrupt(message)
        elif isinstance(message, Finish):
            self._finish()
        else:
            self._end("cancelled")

    def _finish(self) -> None:
        self._switch.finishing = True
        if self._conversation.over:
            self._end("eos")
            return
        self._streams.thinker.closed = True
        self._switch.ask = None
        self._switch.keep_going()

    def _interrupt(self, message: Interrupt) -> None:
        writer = self._streams.writer
        place = writer.place_of(message.character, message.seconds)
        heard_all = place == writer.whole
        if not writer.public or (self._answer_ended and heard_all):
            return
        if heard_all and self._switch.mode == THINKER_ONLY and self._is_broken_off(writer):
            self._switch.hold = self._hold_after_interrupt  # it has said nothing since
            return
        if self._conversation.over:
            self._streams.cut(writer, place)
            self._conversation.broken_off = self._conversation.broken_off or not heard_all
        elif self._switch.finishing or not self._switch.thinks:  # nobody is there to think on
            self._streams.cut(writer, place)
            self._conversation.broken_off = True
            self._conversation.end_turn("eos")
        else:
            self._switch.stop_writer(place)
            self._switch.tell_thinker(self._encoded.interrupt_note)
            self._switch.hold = self._hold_after_interrupt

    def _is_broken_off(self, writer: Stream) -> bool:
        """Whether the last that stands in the answer is that it was broken off."""
        note = self._encoded.interrupted
        return writer.said[-1].source == "inserted" and tuple(writer.tokens[-len(note) :]) == note
