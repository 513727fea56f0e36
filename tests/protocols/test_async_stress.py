"""Many sessions at once, and many threads that speak to them."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter

import pytest

from engine.tiny import TOKENIZER
from hogwild.engine.events import FinishEvent, InputEvent, TokenEvent
from hogwild.errors import SessionFinishedError
from hogwild.protocols.async_reasoning import Safety, make_policy
from protocols.test_async_engine import PROMPTS, STOCHASTIC, make_engine

SECONDS = float(os.environ.get("HOGWILD_STRESS_SECONDS", "12"))
SESSIONS, THREADS = 200, 8
POLICIES = [
    make_policy("probe", every=3),
    make_policy("probe", every=5, ride="always", longest_silence=9),
    make_policy("fixed-ratio", think=3, write=4),
    make_policy("in-stream"),
    make_policy("always-on"),
    make_policy("entropy", every=4),
]


class Crowd:
    """Sessions of one engine, each of which is followed by another when it has ended, and who speaks to them.

    Attributes:
        running: the protocols that run now.
        accepted: of every protocol the texts that were pushed to it.
        said: how often what was said.
    """

    def __init__(self, engine) -> None:
        self.engine, self.stop, self.said = engine, threading.Event(), Counter()
        self.running, self.accepted = [None] * SESSIONS, {}
        self.ended: list[tuple[object, list]] = []
        self._lock, self._started = threading.Lock(), 0

    def start(self, place: int):
        rng = random.Random(self._started)
        protocol = self.engine.thinking(
            "add",
            policy=POLICIES[self._started % len(POLICIES)],
            prompts=PROMPTS,
            max_forwards=rng.randint(5, 60),
            turns=self._started % 3 == 0,
            earlier_thoughts=rng.choice(["kept", "folded", "dropped"]),
            summary_tokens=5,
            safety=Safety(hold=3) if self._started % 5 == 0 else None,
            hold_after_interrupt=3,
            # the others may end a text by a token that is not said
            forbidden_tokens=[TOKENIZER.eos_token_id] if self._started % 2 else None,
            **STOCHASTIC,
        )
        self._started += 1
        with self._lock:
            self.accepted[id(protocol)] = []
            self.running[place] = protocol
        return protocol

    async def keep_one_running(self, place: int) -> None:
        while not self.stop.is_set():
            protocol = self.start(place)
            events = [event async for event in self.engine.submit(protocol)]
            self.ended.append((protocol, events))

    def speak(self, number: int) -> None:
        rng = random.Random(number)
        while not self.stop.is_set():
            with self._lock:
                protocol = rng.choice([protocol for protocol in self.running if protocol is not None])
            try:
                if rng.random() < 0.7:
                    text = f"<{number}:{self.said['push']}>"
                    to = rng.choice(["input", "thinker", "writer"])
                    at = rng.choice(["now", "now", "sentence", "paragraph"])
                    with self._lock:
                        protocol.push(text, to, at)
                        self.accepted[id(protocol)].append((text, to))
                        self.said["push"] += 1
                elif rng.random() < 0.85:
                    protocol.interrupt(rng.choice([None, 0, 4]))
                    self.said["interrupt"] += 1
                else:
                    what = rng.choice(["finish", "cancel"])
                    getattr(protocol, what)()
                    self.said[what] += 1
            except SessionFinishedError:
                self.said["too late"] += 1
            time.sleep(rng.uniform(0, 0.08))

    async def run(self) -> None:
        tasks = [asyncio.create_task(self.keep_one_running(place)) for place in range(SESSIONS)]
        await asyncio.sleep(0)
        threads = [threading.Thread(target=self.speak, args=(n,), daemon=True) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        await asyncio.sleep(SECONDS)
        self.stop.set()
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
        for protocol in self.running:
            protocol.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks), timeout=120)


@pytest.mark.slow
def test_many_sessions_and_many_threads(capsys):
    """No deadlock, no lost text or token, no leaked page, in a pool that has not room for all of them."""
    with make_engine(positions=1 << 17, max_tokens=32 * 1200) as engine:
        crowd = Crowd(engine)
        asyncio.run(crowd.run())
        assert engine.pool.used_pages == 0
    reasons = Counter(events[-1].reason for _, events in crowd.ended)
    assert len(crowd.ended) > SESSIONS and set(reasons) <= {"eos", "max_forwards", "cancelled"}
    sampled = 0
    for protocol, events in crowd.ended:
        assert isinstance(events[-1], FinishEvent) and protocol.finished
        told = sum(isinstance(event, TokenEvent) and event.source == "sampled" for event in events)
        unsaid = events[-1].tokens - told
        ends = TOKENIZER.eos_token_id not in protocol.sampling("writer").forbidden_tokens
        assert unsaid == 0 or (unsaid > 0 and (ends or protocol.policy.wants_entropy))
        sampled += events[-1].tokens
        heard = [(event.text, event.to) for event in events if isinstance(event, InputEvent)]
        accepted = crowd.accepted[id(protocol)]
        lost = sorted(text for text, _ in accepted)
        assert sorted([text for text, _ in heard] + list(protocol.undelivered)) == lost
        for target in ("input", "thinker", "writer"):
            got = [text for text, to in heard if to == target]
            assert got == [text for text, to in accepted if to == target][: len(got)]
    with capsys.disabled():
        said = ", ".join(f"{count} x {what}" for what, count in sorted(crowd.said.items()))
        print(f" {len(crowd.ended)} sessions in {SECONDS:.0f} s, {sampled} tokens; {said}; {dict(reasons)}")
