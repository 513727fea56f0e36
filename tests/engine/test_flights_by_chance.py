"""Sessions with flights and without, through events by chance."""

import random

import pytest
from flying import ANY, SOME, assert_same, both, make, plain, story
from interrupting import interrupt_at
from tiny import PROMPT, STOCHASTIC, Writers

import hogwild.engine.batcher as batcher
from hogwild.engine.feed import Feed
from hogwild.engine.static import StaticForward
from hogwild.errors import PoolExhausted


class Fickle(Writers):
    """Does this and that, by draws that depend on nothing but its own past, and mostly lies about it."""

    def __init__(self, seed, **options):
        super().__init__(PROMPT, [(5,), (11, 3)], count=10 + seed % 30, **options)
        self.seed = seed
        self.wide = False

    def chance(self, what, share):
        return random.Random(f"{self.seed}/{what}/{len(self.said['w0'])}").random() < share

    def start(self, store):
        events = super().start(store)
        store.create("spare")
        return events

    def plain_tokens(self):
        return ANY if self.chance("plain", 0.9) else SOME

    def feeds(self):
        feeds = super().feeds()
        if not self._fresh and self.chance("wide", 0.08):
            feeds[0] = Feed("w0", (*feeds[0].tokens, 4, 9), feeds[0].view)
        if not self._fresh and self.chance("ask", 0.08):
            feeds[1] = Feed("w1", feeds[1].tokens, feeds[1].view, probe=((3, 4),), entropy=True)
        return feeds

    def receive(self, results):
        events = super().receive(results)
        if self.chance("move", 0.05):
            self.store.append_from("prompt", "w1")
            self.store.clear("w1")
        if self.chance("swap", 0.05):
            self.store.append_from("spare", "prompt", keep_source=True)
            self.store.crop("spare", 2)
            self.store.crop("prompt", self.store.length("prompt") - 2)
            self.store.append_from("prompt", "spare")
        if self.chance("fork", 0.04):
            name = f"copy {len(self.said['w0'])}"
            self.store.fork("w0", name)
            self.store.append_from("spare", name, keep_source=True)
            if self.chance("drop", 0.5):
                self.store.drop(name)
        if self.chance("fail", 0.01):
            raise ArithmeticError("by chance")
        return events


def outcome(engine, sessions):
    """What `forward` tells, or that there was no room."""
    try:
        return story(engine.forward(sessions))
    except PoolExhausted as error:
        return str(error)


@pytest.mark.parametrize("seed", range(8))
def test_any_course_of_events(seed, monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", seed % 3)
    engines = both(max_tokens=64 * 32 if seed % 2 else None)
    chance = random.Random(seed)
    sessions = ([], [])

    def each(do):
        for engine, own in zip(engines, sessions, strict=True):
            do(engine, own)

    for turn in range(160):
        draw = chance.random()
        running = [i for i, session in enumerate(sessions[0]) if not session.finished]
        if not running or (draw < 0.06 and len(running) < 4):
            number, sampling = seed * 1000 + turn, STOCHASTIC if draw < 0.03 else None
            each(lambda e, own, n=number, s=sampling: own.append(e.open(Fickle(n, sampling=s))))
        elif draw < 0.09:
            which = chance.choice(running)
            each(lambda e, own, i=which: chance.random() and own[i].cancel())
        elif draw < 0.12:
            which = chance.randrange(len(sessions[0]))
            each(lambda e, own, i=which: own[i].close())
        elif draw < 0.15:
            which = chance.choice(running)
            if all(own[which].between_feeds for own in sessions):
                each(lambda e, own, i=which: own[i].call(lambda s: s.blocks.crop("w0", 1)))
        elif draw < 0.18:
            which = chance.choice(running)
            each(lambda e, own, i=which: setattr(own[i].protocol, "kept", own[i].blocks.copy()))
        some = chance.sample(running, len(running)) if draw > 0.95 else None
        told = [
            outcome(engine, None if some is None else [own[i] for i in some])
            for engine, own in zip(engines, sessions, strict=True)
        ]
        assert told[0] == told[1]
        assert engines[0].pool.used_pages == engines[1].pool.used_pages
        for mine, other in zip(*sessions, strict=True):
            assert_same(mine, other)
    flights = engines[0]._batcher
    assert flights.flown > flights.wasted > 0


@pytest.mark.parametrize("seed", range(6))
def test_failures_and_interrupts_by_chance(seed, monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", 1)
    alone = []
    for number in range(3):
        idle = make(busy=False)
        session = idle.open(Fickle(seed + 10 * number, sampling=STOCHASTIC))
        while not session.finished:
            idle.forward()
        alone.append(session)
    engine, chance = make(), random.Random(seed)
    sessions = [engine.open(Fickle(seed + 10 * number, sampling=STOCHASTIC)) for number in range(3)]
    compute = StaticForward.compute

    def fails(forward, plan):
        if chance.random() < 0.15:
            raise RuntimeError("by chance")
        compute(forward, plan)

    monkeypatch.setattr(StaticForward, "compute", fails)
    while any(not session.finished for session in sessions):
        try:
            if chance.random() < 0.3:
                interrupt_at(chance.randrange(1, 900), engine.forward)
            else:
                engine.forward()
        except (KeyboardInterrupt, RuntimeError):
            pass
    assert engine._batcher.flown > engine._batcher.wasted
    for mine, other in zip(sessions, alone, strict=True):
        if isinstance(mine.error, KeyboardInterrupt):  # a protocol was hit: it is not of ours
            continue
        assert_same(mine, other)


def test_many_jobs_in_a_small_pool():
    """Through the scheduler, which parks some of them."""
    said = []
    for busy in (True, False):
        engine = make(busy=busy, max_tokens=16 * 32)
        protocols = [plain(30 + 5 * index, sampling=STOCHASTIC if index % 2 else None) for index in range(6)]
        for _ in engine.run(protocols):
            pass
        assert all(protocol.finish_reason == "max_forwards" for protocol in protocols)
        assert engine.pool.used_pages == 0
        said.append([protocol.said for protocol in protocols])
        if busy:
            assert engine._batcher.flown
    assert said[0] == said[1]
