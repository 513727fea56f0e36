"""What every worker should see, as text, made from the event stream alone: the pictures of Figure 8."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hogwild.engine import EngineCore
from hogwild.engine.events import Event, StepEvent, TokenEvent
from hogwild.protocols import CollaborationProtocol


class ViewTexts:
    """Listens to a run's events; knows nothing of blocks.

    Args:
        protocol: the run's protocol, for its layout and its headers.
        prompt: text of what stands before the first steps.
        end_tokens: ids that end a worker's text.
    """

    def __init__(self, protocol: CollaborationProtocol, prompt: str, end_tokens: Iterable[int]) -> None:
        self.protocol, self.prompt, self._ends = protocol, prompt, set(end_tokens)
        self.texts = dict.fromkeys(protocol.layout.workers, "")  # all that a worker wrote
        self.current = dict(self.texts)  # its unfinished step
        self.finished: list[str] = []
        self.stopped: set[str] = set()

    def listen(self, events: Iterable[Event]) -> None:
        """Go on with these events."""
        separator = self.protocol.headers.separator
        for event in events:
            if isinstance(event, TokenEvent):
                self.texts[event.worker] += event.text
                self.current[event.worker] += event.text
                self.stopped |= {event.worker} if event.token in self._ends else set()
            elif isinstance(event, StepEvent):
                step = self.current[event.worker]
                # the separator behind a step opens the next one; who has stopped opens none
                going_on = event.worker not in self.stopped
                self.finished.append(step.removesuffix(separator) if going_on else step)
                self.current[event.worker] = separator if going_on else ""

    def expected(self, worker: str) -> str:
        """The text that `worker` samples from, once all that the events tell of is written."""
        headers, layout = self.protocol.headers, self.protocol.layout
        others = "".join(self._current(other) for other in layout.workers if other != worker)
        history, own = self.prompt + "".join(self.finished), self._current(worker)
        if layout.name == "contiguous":
            return self.prompt + others + own
        if layout.name == "interleaved":
            return history + own
        if len(layout.workers) == 1:
            return history + headers.separator + headers.own + own
        title = headers.separator + headers.others
        return history + title + others + headers.unfinished + headers.separator + headers.own + own

    def _current(self, worker: str) -> str:
        """What stands in the worker's own place: nothing, where it has stopped and steps move."""
        moved = worker in self.stopped and self.protocol.layout.moves_finished_steps
        return "" if moved else self.current[worker]


def run_and_compare(
    engine: EngineCore, protocol: CollaborationProtocol, tokenizer: Any, texts: ViewTexts
) -> None:
    """Run the protocol to its end; before every forward, what its workers are about to see must be the texts."""
    with engine.open(protocol) as session:
        texts.listen(session.take_events())
        while not session.finished:
            fed = {feed.view.write_to: list(feed.tokens) for feed in protocol.feeds()}
            for feed in protocol.feeds():
                if feed.sample:
                    blocks = [session.blocks.tokens(name) + fed.get(name, []) for name in feed.view.blocks]
                    seen = tokenizer.decode([token for block in blocks for token in block])
                    assert seen == texts.expected(feed.worker)
            for _, events in engine.forward([session]):
                texts.listen(events)
