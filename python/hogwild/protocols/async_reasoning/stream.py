"""The text of one of the two streams: what was said, how much of it is written to its block, where it pauses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hogwild.engine.detokenize import Detokenizer
from hogwild.engine.events import TokenEvent
from hogwild.prompting import StepDetector, StepRule, ends_sentence

_CHARACTER = 4  # tokens of a character at most, in UTF-8
_CONTEXT = 16  # tokens before a cut that the text behind it is decoded with


@dataclass(frozen=True)
class Said:
    """One token of a stream.

    Attributes:
        token: its id.
        text: what it adds to the text; empty while a character is incomplete.
        source: one of `hogwild.engine.events.SOURCES`.
        time: seconds since the run began.
    """

    token: int
    text: str
    source: str
    time: float = 0.0

    @property
    def is_public(self) -> bool:
        """Whether the token is part of what the stream says: not a header or a question of the protocol."""
        return self.source != "inserted"


class Stream:
    """A stream's tokens: the first `written` of them stand in its block, in this order, and no others do.

    A token that was sampled is pending: it is written together with whatever is inserted behind it, by the
    next forward that the stream takes part in. The last token of a stream that can go on always is.

    Attributes:
        worker, block: names.
        said: all tokens, those that the stream was opened with included.
        written: how many of them stand in the block.
        closed: whether the stream has ended; what is left of it is written without sampling.
    """

    def __init__(self, worker: str, block: str, tokenizer: Any, rule: StepRule) -> None:
        self.worker, self.block = worker, block
        self._tokenizer, self._rule = tokenizer, rule
        self.clear()

    def clear(self) -> None:
        """Begin anew, with an empty block."""
        self.said: list[Said] = []
        self.written = 0
        self.closed = False
        self._detokenizer = Detokenizer(self._tokenizer)
        self._paragraph = StepDetector(self._rule)
        self._tail = ""  # of the text since something was inserted
        self.ended_paragraph = True

    @property
    def queue(self) -> tuple[int, ...]:
        """Tokens that are not written yet."""
        return tuple(said.token for said in self.said[self.written :])

    @property
    def tokens(self) -> list[int]:
        """All token ids."""
        return [said.token for said in self.said]

    @property
    def public(self) -> str:
        """What the stream has said: its text without what the protocol put there."""
        return "".join(said.text for said in self.said if said.is_public)

    @property
    def ends_with_a_push(self) -> bool:
        """Whether the newest token was pushed by the user."""
        return bool(self.said) and self.said[-1].source == "pushed"

    @property
    def whole(self) -> int:
        """Number of tokens up to the end of the last whole character."""
        return self._whole(len(self.said))

    def say(self, tokens: Iterable[int], source: str, time: float = 0.0) -> list[TokenEvent]:
        """Add tokens; their events."""
        events = []
        for token in tokens:
            said = Said(token, self._detokenizer.push(token), source, time)
            self.said.append(said)
            if source == "inserted":
                self._open_paragraph()
            else:
                self._follow(said.text)
            events.append(TokenEvent(worker=self.worker, token=token, text=said.text, source=source))
        return events

    def at(self, moment: str) -> bool:
        """Whether the stream stands at the end of a "sentence" or a "paragraph"; any time is "now"."""
        if moment == "now" or not self._tail:
            return True
        return self.ended_paragraph if moment == "paragraph" else ends_sentence(self._tail)

    def place_of(self, character: int | None, seconds: float | None) -> int:
        """Index of the first token that was not heard; at most `whole`.

        Args:
            character: so many characters of `public` were heard; a token that begins among them was, too.
            seconds: what was said up to this time was heard. None: that does not limit it.
        """
        count = 0
        for index, said in enumerate(self.said):
            if not said.is_public:
                continue
            late = seconds is not None and said.time > seconds
            if late or (character is not None and count >= character):
                return self._whole(index)
            count += len(said.text)
        return self.whole

    @property
    def paragraph_start(self) -> int:
        """Index of the first token behind the last paragraph that is finished."""
        text = self.public
        start = text.rfind("\n\n", 0, len(text.rstrip())) + 2
        return self.place_of(start if start > 1 else 0, None)

    def cut(self, place: int) -> list[Said]:
        """Take back the tokens from index `place` on; the caller crops the block to `written`."""
        dropped = self.said[place:]
        del self.said[place:]
        self.written = min(self.written, place)
        self._replay()
        return dropped

    def find(self, texts: Sequence[str]) -> int | None:
        """Index of the first token of one of `texts`, if the stream has just said it."""
        for text in texts:
            if text in self._tail[-len(text) - 32 :]:
                behind = len(self._tail) - self._tail.rfind(text)
                for index in range(len(self.said) - 1, -1, -1):
                    behind -= len(self.said[index].text)
                    if behind <= 0:
                        return index
        return None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; the times are left out, since whoever goes on counts from when it began."""
        said = [[s.token, s.text, s.source] for s in self.said]
        return {"said": said, "written": self.written, "closed": self.closed}

    def load_dict(self, values: dict[str, Any]) -> None:
        """Undo `to_dict`."""
        self.said = [Said(*entry) for entry in values["said"]]
        self.written, self.closed = values["written"], values["closed"]
        self._replay()

    def events(self) -> list[TokenEvent]:
        """Events of all tokens, for readers that were not there."""
        return [
            TokenEvent(worker=self.worker, token=said.token, text=said.text, source=said.source)
            for said in self.said
        ]

    def _whole(self, place: int) -> int:
        """`place`, or where the character begins that it stands in the middle of."""
        begun = 0
        while begun < place and self._is_unfinished(self.said[place - begun - 1]):
            begun += 1
        return place - begun if begun < _CHARACTER else place

    @staticmethod
    def _is_unfinished(said: Said) -> bool:
        return said.source == "sampled" and not said.text

    def _replay(self) -> None:
        """Bring detokenizer and paragraph to where `said` ends."""
        self._detokenizer = Detokenizer(self._tokenizer)
        for said in self.said[-_CONTEXT:]:
            self._detokenizer.push(said.token)
        self._open_paragraph()
        start = max((i + 1 for i, said in enumerate(self.said) if said.source == "inserted"), default=0)
        for said in self.said[start:]:
            self._follow(said.text)

    def _open_paragraph(self) -> None:
        self._paragraph.reset()
        self._tail = ""
        self.ended_paragraph = True

    def _follow(self, text: str) -> None:
        self._tail += text
        self.ended_paragraph = self._paragraph.push(text)
        if self.ended_paragraph:
            self._paragraph.reset()
