"""Protocols and waits for tests of sessions in the background."""

import time

from tiny import PROMPT, Writers

from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed

SOON = 120  # seconds; generous, since nothing below needs one


def until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


class Endless(Writers):
    """Writes until it is told not to."""

    def __init__(self, **options):
        super().__init__(PROMPT, [(5, 6), (11,)], count=10**9, **options)

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) % 50 == 0:  # a view has an end
            for worker in self.workers:
                self.store.crop(worker, 1)
        return events


class Listener(Writers):
    """Feeds what it is given from outside, and says one token to it; otherwise it waits."""

    def __init__(self):
        super().__init__(PROMPT, [(5,)], count=10**9)
        self.heard = []

    def feeds(self):
        if self._fresh:
            return super().feeds()
        return [Feed("w0", tuple(self.heard), ViewSpec(("prompt", "w0"), "w0"))] if self.heard else []

    def receive(self, results):
        if not self._fresh:
            self.heard = []
        return super().receive(results)
