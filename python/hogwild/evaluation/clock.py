"""When a run had taken how many sequential forwards."""

from __future__ import annotations

from collections.abc import Iterable

from hogwild.engine.events import Event, TokenEvent


class Clock:
    """The times of a run's sequential forwards, read from its events.

    A sequential forward is one in which workers sample tokens of their texts. Forwards that only write prompts
    are part of the time before the next one; early answers come after all of them.

    Args:
        events: of one run, in order.

    Attributes:
        tokens: tokens that the workers sampled for their texts, all together.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        times: dict[int, float] = {}
        self.tokens = 0
        for event in events:
            if isinstance(event, TokenEvent) and event.source == "sampled":
                times.setdefault(event.forward, event.time)
                self.tokens += 1
        self._times = list(times.values())

    def seconds(self, forwards: int) -> float:
        """Seconds from the start to the end of so many sequential forwards; of all, if there were fewer."""
        taken = min(forwards, len(self._times))
        return self._times[taken - 1] if taken else 0.0
