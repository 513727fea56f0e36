"""What every worker should see, as text, made from the event stream alone: the pictures of Figure 8."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
        self.texts = dict.fromkeys(protocol.layout.workers, "")
        self.finished: list[str] = []
        self.stopped: set[str] = set()

    def listen(self, events: Iterable[Event]) -> None:
        """Go on with these events."""
        for event in events:
            if isinstance(event, TokenEvent):
                self.texts[event.worker] += event.text
                self.stopped |= {event.worker} if event.token in self._ends else set()
            elif isinstance(event, StepEvent):
                step = self._steps(event.worker)[event.index - 1]
                # the separator behind a step opens the next one; who has stopped opens none
                separator = self.protocol.headers.separator
                self.finished.append(step if event.worker in self.stopped else step.removesuffix(separator))

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

    def _steps(self, worker: str) -> list[str]:
        """The worker's steps with their headers, the last one unfinished."""
        text = self.texts[worker]
        places = [match.start() for match in re.finditer(rf"\n\n\*\*{worker} \[\d+\]:\*\*", text)]
        return [text[a:b] for a, b in zip(places, [*places[1:], len(text)], strict=True)]

    def _current(self, worker: str) -> str:
        if self.protocol.layout.name == "contiguous":
            return self.texts[worker]
        return "" if worker in self.stopped else self._steps(worker)[-1]
