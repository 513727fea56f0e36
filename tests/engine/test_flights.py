"""Forwards that are launched before their tokens are known change nothing but the time it takes."""

import time

import pytest
import torch
from flying import Plain, Stubborn, assert_same, both, make, plain, story, written
from tiny import PROMPT, STOCHASTIC, contents, make_engine, make_model

import hogwild.engine.batcher as batcher
from hogwild.cache import ForwardPlan
from hogwild.engine.feed import Feed
from hogwild.errors import ContextLengthError, UnsupportedModelError
from hogwild.measure.workload import DecodeWorkload, randomize
from hogwild.models import disable, enable, packed_forward
from runners import BusyDevice


def test_nothing_differs_after_any_forward():
    busy, idle = both()
    mine, others = (
        [engine.open(plain(40, sampling=STOCHASTIC)), engine.open(plain(33))] for engine in (busy, idle)
    )
    for _ in range(41):
        assert story(busy.forward()) == story(idle.forward())
        assert busy.pool.used_pages == idle.pool.used_pages
        for one, other in zip(mine, others, strict=True):
            assert_same(one, other)
    assert all(session.finished for session in mine)
    assert busy._batcher.flown >= 28 and busy._batcher.wasted == 0
    assert idle._batcher.flown == 0


def test_the_workload_of_measurements_flies():
    engine = make()
    session = engine.open(DecodeWorkload(2, 40, 30))
    engine.forward()
    randomize(engine.pool)  # nothing has written the history
    while not session.finished:
        engine.forward()
    assert session.error is None and session.forwards == 31
    assert engine._batcher.flown >= 26 and engine._batcher.wasted == 0


def test_a_page_is_only_taken_by_a_forward_that_was_asked_for():
    engine = make()
    session = engine.open(plain(80))
    while not session.finished:
        engine.forward()
        held = {page for name in session.blocks for page in session.blocks[name].pages}
        assert engine.pool.used_pages == len(held) and engine.pool.reserved_pages == 0
    assert 76 < engine._batcher.flown < 80 and engine._batcher.wasted == 0


class Restless(Stubborn):
    """Feeds something else now and then."""

    def feeds(self):
        feeds = super().feeds()
        if len(self.said["w0"]) % 5 == 3:
            first = feeds[0]
            feeds[0] = Feed(first.worker, (*first.tokens, 7), first.view)
        return feeds


class Rewriting(Stubborn):
    """Replaces what the workers see by other tokens, as many, and feeds what it always feeds."""

    def start(self, store):
        events = super().start(store)
        store.create("kept")
        return events

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) == 6:
            self.store.append_from("kept", "w1", keep_source=True)
            self.store.crop("kept", 2)
        if len(self.said["w0"]) in (7, 8):
            self.store.crop("prompt", self.store.length("prompt") - 2)
            self.store.append_from("prompt", "kept", keep_source=True)
        return events


class Other(Stubborn):
    """Does not feed what was sampled."""

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) % 4 == 0:
            self._pending["w0"] = (9,)
        return events


@pytest.mark.parametrize("kind", [Stubborn, Restless, Rewriting, Other])
def test_a_forward_that_nobody_wants_is_made_for_nothing(kind, monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", 0)
    busy, idle = both()
    mine, other = (engine.open(plain(14, kind, sampling=STOCHASTIC)) for engine in (busy, idle))
    while not mine.finished:
        assert story(busy.forward()) == story(idle.forward())
        assert busy.pool.used_pages == idle.pool.used_pages
        assert_same(mine, other)
    with busy.open(plain(3)) as last:  # the last forward was launched, too
        busy.forward([last])
    assert busy._batcher.wasted >= {Stubborn: 1, Restless: 2, Rewriting: 2, Other: 2}[kind]


def test_after_a_forward_for_nothing_none_is_launched_for_a_while():
    engine = make()
    session = engine.open(plain(120, Restless))
    while not session.finished:
        engine.forward()
    assert session.error is None
    assert 1 <= engine._batcher.wasted <= 1 + 120 // batcher._PATIENCE


class Borrowing(Stubborn):
    """Takes a page, writes to it and gives it back, after every forward."""

    def start(self, store):
        events = super().start(store)
        for name in ("few", "spare"):
            store.create(name)
        return events

    def receive(self, results):
        if self._fresh:
            self.store.append_from("few", "prompt", keep_source=True)
            self.store.crop("few", 3)
        self.store.append_from("spare", "few", keep_source=True)
        self.store.clear("spare")
        return super().receive(results)


def look_ahead(session):
    """Another token is tried, and taken back."""
    view = session.blocks.view(session.next_rows()[0].view)
    plan = ForwardPlan([(view, [9])])
    packed_forward(session.model, plan, [0])
    plan.rollback()


@pytest.mark.parametrize(("kind", "between"), [(Borrowing, None), (Plain, look_ahead)])
def test_what_was_written_there_meanwhile_is_noticed(kind, between, monkeypatch):
    """By others who have had the page, or at the end of a block, while lengths, pages and slots are what they were."""
    monkeypatch.setattr(batcher, "_PATIENCE", 0)
    busy, idle = both()
    mine, other = (engine.open(plain(70, kind, sampling=STOCHASTIC)) for engine in (busy, idle))
    while not mine.finished:
        for engine, session in ((busy, mine), (idle, other)):
            engine.forward()
            if between and session.forwards % 4 == 0 and not session.finished:
                session.model = engine.model
                between(session)
        for one, another in zip(written(mine), written(other), strict=True):
            torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-4)
    assert_same(mine, other)
    assert busy._batcher.wasted >= 2 and busy._batcher.flown > busy._batcher.wasted


@pytest.mark.parametrize(
    ("change", "error"),
    [(lambda model: enable(model, max_length=20), ContextLengthError), (disable, UnsupportedModelError)],
    ids=["enabled anew", "disabled"],
)
def test_a_model_that_changes_in_between_is_asked(change, error):
    engine = make()
    session = engine.open(plain(20))
    for _ in range(5):
        engine.forward()
    before = contents(session)
    change(engine.model)
    with pytest.raises(error):
        engine.forward()
    assert contents(session) == before and engine._batcher.wasted == 1


def _fork(session):
    session.blocks.copy()


def _fork_and_keep(session):
    session.protocol.kept = session.blocks.copy()


def _call(session):
    session.call(lambda session: None)


def _call_with_effect(session):
    session.call(lambda session: session.blocks.crop("w1", session.blocks.length("w1") - 1))


def _draw_on(session):
    session.sampler("w0").accept(())


def _change_a_block(session):
    session.blocks.crop("prompt", len(PROMPT) - 1)


def _cancel(session):
    session.cancel()


def _close(session):
    session.close()


@pytest.mark.parametrize(
    "change",
    [_fork, _fork_and_keep, _call, _call_with_effect, _draw_on, _change_a_block, _cancel, _close],
)
def test_what_happens_between_two_forwards_counts(change):
    busy, idle = both()
    sessions = []
    for engine in (busy, idle):
        pair = [engine.open(plain(20, sampling=STOCHASTIC)), engine.open(plain(20))]
        for _ in range(6):
            engine.forward()
        change(pair[0])
        while any(not session.finished for session in pair):
            engine.forward()
        sessions.append(pair)
    assert busy._batcher.flown
    for mine, other in zip(*sessions, strict=True):
        assert_same(mine, other)


def test_sessions_that_are_asked_for_by_turns():
    said = {}
    for engine in both():
        first, second = engine.open(plain(20)), engine.open(plain(20, sampling=STOCHASTIC))
        for _ in range(25):
            engine.forward([first])
            engine.forward([first, second])
            engine.forward([second])
        assert first.finished and second.finished and not (first.error or second.error)
        said[engine] = first.protocol.said, second.protocol.said, contents(first), contents(second)
    assert len(set(map(repr, said.values()))) == 1


def test_who_comes_later_wastes_nothing():
    engine = make()
    first = engine.submit(plain(60, sampling=STOCHASTIC))
    events = iter(first)
    for _ in range(20):
        next(events)
    others = [engine.submit(plain(30)), engine.submit(plain(12, sampling=STOCHASTIC))]
    for handle in (first, *others):
        for _ in handle:
            pass
    assert engine._batcher.flown > 40 and engine._batcher.wasted == 0
    idle = make(busy=False)
    alone = [
        idle.open(plain(count, sampling=s)) for count, s in ((60, STOCHASTIC), (30, None), (12, STOCHASTIC))
    ]
    for handle, session in zip((first, *others), alone, strict=True):
        while not session.finished:
            idle.forward([session])
        assert handle.protocol.said == session.protocol.said


def test_by_turns_little_is_wasted():
    engine = make()
    sessions = [engine.open(plain(60)), engine.open(plain(60))]
    for _ in range(60):
        for session in sessions:
            engine.forward([session])
    assert all(session.finished and not session.error for session in sessions)
    # one is launched in the forward that finds the one before wasted
    assert 1 <= engine._batcher.wasted <= 2 * (1 + 120 // batcher._PATIENCE)


def test_a_reader_who_is_slow_wastes_nothing():
    engine = make()
    handle = engine.submit(plain(60), buffer=8)
    for number, _ in enumerate(handle):
        if number % 6 == 0:
            time.sleep(0.05)  # long enough for the engine to have to wait
    assert engine._batcher.flown > 40 and engine._batcher.wasted == 0


def test_sessions_that_only_work_one_by_one_waste_nothing():
    class Narrow(BusyDevice):
        def run(self, plan, rows):
            if len(plan.views) > 3:  # of more than one session
                raise RuntimeError("too many")
            return super().run(plan, rows)

    model = enable(make_model())
    engine = make_engine(model, runner=Narrow(model))
    protocols = [plain(30) for _ in range(3)]
    forwards = []
    for protocol, event in engine.run(protocols):
        if event.type == "token" and event.worker == "w0":
            forwards.append(protocol)
    assert all(protocol.finish_reason == "max_forwards" for protocol in protocols)
    assert engine._batcher.wasted == 0
    assert [forwards[:6].count(protocol) for protocol in protocols] == [2, 2, 2]


def test_engines_that_share_a_runner(monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", 0)
    model = enable(make_model())
    runner = BusyDevice(model)
    first, second = make_engine(model, runner=runner), make_engine(model, runner=runner)
    mine, theirs = first.open(plain(20)), second.open(plain(20, sampling=STOCHASTIC))
    while not (mine.finished and theirs.finished):
        first.forward()
        if mine.finished or mine.forwards % 3 == 0:
            second.forward()
    assert first._batcher.wasted and first._batcher.flown > first._batcher.wasted
    for session, sampling in ((mine, None), (theirs, STOCHASTIC)):
        idle = make(busy=False)
        alone = idle.open(plain(20, sampling=sampling))
        while not alone.finished:
            idle.forward()
        assert_same(session, alone)
