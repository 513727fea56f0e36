"""Scripts for whole runs: what workers sample, and what they sample when they are made to answer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, repeat

from fakes import ScriptedEngine, ToyTokenizer
from hogwild.engine.events import BudgetEvent, Event, StartEvent
from hogwild.protocols import BudgetedProtocol

TOKENIZER = ToyTokenizer()
PROMPT = TOKENIZER.encode("Solve it.\n\n")


class Script:
    """The next token of every worker, and what each view was when one was sampled.

    Args:
        texts: what each worker samples, by name or the beginning of a name; then dots, for ever. The entry
            "answer" is what every branch samples that is made to answer.
        tokenizer: makes tokens of the texts.

    Attributes:
        views: worker -> the text it saw before each of its tokens.
    """

    def __init__(self, texts: Mapping[str, str], tokenizer: ToyTokenizer = TOKENIZER) -> None:
        self._tokenizer = tokenizer
        self._texts = dict(texts)
        self._running: dict[str, chain[int]] = {}
        self.views: dict[str, list[str]] = {}

    def __call__(self, feed, view) -> int:
        worker = feed.worker
        if worker not in self._running:
            text = max((k for k in self._texts if worker.startswith(k)), key=len, default="")
            ids = [self._id(piece) for piece in self._pieces(self._texts.get(text, ""))]
            self._running[worker] = chain(ids, repeat(self._tokenizer.id(".")))
        self.views.setdefault(worker, []).append(self._tokenizer.decode(view))
        return next(self._running[worker])

    def _pieces(self, text: str) -> list[str]:
        parts = text.split("<eos>")
        pieces: list[str] = []
        for index, part in enumerate(parts):
            pieces += [self._tokenizer.vocab[i] for i in self._tokenizer.encode(part)]
            pieces += ["<eos>"] if index < len(parts) - 1 else []
        return pieces

    def _id(self, piece: str) -> int:
        return self._tokenizer.id(piece)


def run(protocol: BudgetedProtocol, texts: Mapping[str, str], tokenizer: ToyTokenizer = TOKENIZER):
    """The engine that has run the protocol to its end, and the script that it followed."""
    script = Script(texts, tokenizer)
    engine = ScriptedEngine(protocol, script)
    engine.run()
    return engine, script


def of_the_run(events: list[Event]) -> list[Event]:
    """The events without what budgets add to them."""
    return [event for event in events if not isinstance(event, (BudgetEvent, StartEvent))]
