"""Forwards that are launched before sessions hear of the last one's tokens change nothing but the time it takes."""

import itertools
import random
import time

import pytest
import torch
from interrupting import interrupt_at
from tiny import PROMPT, STOCHASTIC, BusyDevice, Writers, contents, make_engine, make_model

import hogwild.engine.batcher as batcher
from hogwild.cache import ForwardPlan
from hogwild.cache.reservation import slots_of
from hogwild.engine.feed import Feed
from hogwild.engine.graphs import GraphRunner
from hogwild.engine.static import StaticForward
from hogwild.errors import ContextLengthError, PoolExhausted, UnsupportedModelError
from hogwild.measure.workload import DecodeWorkload, randomize
from hogwild.models import disable, enable, packed_forward

ANY = torch.ones(1000, dtype=torch.bool)
SOME = ANY[:40].clone()


class Plain(Writers):
    """Says that it goes on, but for its last token."""

    def plain_tokens(self):
        return ANY if len(self.said["w0"]) + 1 < self._count else None


class Stubborn(Writers):
    """Says that it goes on, always."""

    def plain_tokens(self):
        return ANY


def plain(count=20, kind=Plain, **options):
    return kind(PROMPT, [(5,), (11,)], count=count, **options)


def make(busy=True, **options):
    model = enable(make_model())
    return make_engine(model, runner=(BusyDevice if busy else GraphRunner)(model), **options)


def both(**options):
    return make(**options), make(busy=False, **options)


def story(told):
    """Events without their times."""
    return [[{**vars(event), "time": 0, "seconds": 0} for event in events] for _, events in told]


def assert_same(mine, other):
    assert mine.protocol.said == other.protocol.said and mine.finished == other.finished
    assert repr(mine.error) == repr(other.error)
    assert (mine.forwards, mine.tokens) == (other.forwards, other.tokens)
    if not mine.closed:
        assert contents(mine) == contents(other)
        assert mine.sampler_states() == other.sampler_states()


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


# ---------------------------------------------------------------------- on CPU and CUDA


class Waiting(GraphRunner):
    """Has no time to spare, so nothing is prepared or launched beforehand, on CUDA either."""

    ahead = False


def make_on(device, flies, **options):
    """An engine on `device` whose forwards are of fixed size: on CUDA, graphs."""
    model = enable(make_model().to(device))
    busy = GraphRunner if device == "cuda" else BusyDevice
    return make_engine(model, runner=(busy if flies else Waiting)(model), **options)


class Stepping(Writers):
    """Now and then what the first worker wrote moves into the prompt, and it begins anew.

    Args:
        every: after so many tokens.
        told: whether it says so beforehand.
    """

    def __init__(self, *arguments, every, told, **options):
        super().__init__(*arguments, **options)
        self.every, self.told = every, told

    def plain_tokens(self):
        done = len(self.said["w0"]) + 1
        return None if done == self._count or (self.told and done % self.every == 0) else ANY

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) % self.every == 0:
            self.store.append_from("prompt", "w0")
            self.store.clear("w0")
            self._pending["w0"] = (3, *self._pending["w0"])
        return events


def written(session):
    """Keys and values of all blocks, layer by layer: [tokens, heads, head_dim] each."""
    found = []
    for name in session.blocks.names():
        block = session.blocks[name]
        slots = slots_of(block.pages, block.pool.page_size, 0, len(block))
        for layer in block.pool.layers.values():
            for pages in (layer.k, layer.v):
                found.append(pages.transpose(1, 2).flatten(0, 1)[slots.to(pages.device)].cpu())
    return found


ON_DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])


@ON_DEVICES
@pytest.mark.parametrize("sampling", [None, STOCHASTIC], ids=["greedy", "sampled"])
def test_steps_that_end_told_and_untold(device, sampling, monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", 2)
    runs = []
    for flies in (True, False):
        engine = make_on(device, flies, max_tokens=4096)
        sessions = [
            engine.open(plain(70, Stepping, sampling=sampling, every=every, told=told))
            for every, told in ((7, True), (11, False))
        ]
        told = []
        while not all(session.finished for session in sessions):
            told += story(engine.forward())
        assert not any(session.error for session in sessions)
        runs.append((engine, sessions, told))
    (busy, mine, told), (idle, others, expected) = runs
    assert told == expected
    for one, other in zip(mine, others, strict=True):
        assert_same(one, other)
        assert len(set(one.protocol.said["w0"])) > 3  # not a constant
        for a, b in zip(written(one), written(other), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert busy._batcher.flown > 30 and 3 <= busy._batcher.wasted <= 7
    assert idle._batcher.flown == 0
    if device == "cuda":
        assert busy.runner.why_eager is None and idle.runner.why_eager is None


@ON_DEVICES
def test_an_engine_that_is_dropped_with_a_forward_in_flight(device):
    """Its graph must not be destroyed while it runs, and its pages are free."""
    for _ in range(3):
        engine = make_on(device, True, max_tokens=2048)
        sessions = [engine.open(plain(50)), engine.open(plain(50, sampling=STOCHASTIC))]
        for _ in range(9):
            engine.forward()
        assert engine._batcher.flown and engine._batcher._flight is not None
        for session in sessions:
            session.close()
        assert engine.pool.used_pages == 0
        engine.runner.close()
    if device == "cuda":
        torch.cuda.synchronize()


@pytest.mark.cuda
def test_forwards_on_two_streams_by_turns():
    engine, idle = make_on("cuda", True), make_on("cuda", False)
    session, other = (e.open(plain(60, sampling=STOCHASTIC)) for e in (engine, idle))
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    while not session.finished:
        with torch.cuda.stream(streams[session.forwards // 3 % 2]):
            engine.forward()
    torch.cuda.synchronize()
    while not other.finished:
        idle.forward()
    assert_same(session, other)
    assert engine._batcher.flown > 40 and engine._batcher.wasted == 0


# ---------------------------------------------------------------------- what goes wrong


def test_a_launch_that_fails_is_told_when_its_forward_is_asked_for(monkeypatch):
    engine, idle = both()
    session, other = (e.open(plain(20, sampling=STOCHASTIC)) for e in (engine, idle))
    for _ in range(5):
        engine.forward()
    compute, launched = StaticForward.compute, engine._batcher.flown

    def fails(forward, plan):
        raise RuntimeError("out of order")

    monkeypatch.setattr(StaticForward, "compute", fails)
    told = engine.forward()  # goes on with what is in flight
    assert told and session.forwards == 6 and engine._batcher.flown == launched
    before = contents(session), engine.pool.used_pages
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of order"):
            engine.forward()
        assert (contents(session), engine.pool.used_pages) == before
    monkeypatch.setattr(StaticForward, "compute", compute)
    while not session.finished:
        engine.forward()
    while not other.finished:
        idle.forward()
    assert_same(session, other)


class Breaking(Plain):
    def __init__(self, *arguments, what, **options):
        super().__init__(*arguments, **options)
        self.what = what

    def plain_tokens(self):
        if len(self.said["w0"]) < 5:
            return ANY
        if self.what == "raises":
            raise LookupError("who knows")
        return {"list": [True], "numbers": ANY.int(), "table": ANY[None]}[self.what]


@pytest.mark.parametrize(
    ("what", "error"),
    [("raises", LookupError), ("list", TypeError), ("numbers", TypeError), ("table", TypeError)],
)
def test_a_protocol_that_cannot_say_ends_alone(what, error):
    engine, idle = both()
    failing = engine.open(Breaking(PROMPT, [(5,)], count=20, what=what))
    session, other = (e.open(plain(20)) for e in (engine, idle))
    while not session.finished:
        engine.forward()
    while not other.finished:
        idle.forward()
    assert isinstance(failing.error, error) and failing.forwards == 5
    assert len(contents(failing)["w0"]) == 5  # as before the failed forward
    assert_same(session, other)


class Failing(Stubborn):
    def receive(self, results):
        if len(self.said["w0"]) == 7:
            raise ZeroDivisionError("on purpose")
        return super().receive(results)


def test_a_protocol_that_fails_while_the_next_forward_is_computed():
    busy, idle = both()
    pairs = []
    for engine in (busy, idle):
        pair = [engine.open(plain(20, Failing)), engine.open(plain(20))]
        while not pair[1].finished:
            engine.forward()
        pairs.append(pair)
    assert isinstance(pairs[0][0].error, ZeroDivisionError) and busy._batcher.wasted == 1
    for mine, other in zip(*pairs, strict=True):
        assert_same(mine, other)


class Interrupted(Stubborn):
    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) == 7:
            raise KeyboardInterrupt
        return events


def test_an_interrupt_in_a_protocol_leaves_the_others_their_results():
    engine, idle = both()
    engine.open(plain(20, Interrupted))
    session, other = (e.open(plain(20)) for e in (engine, idle))
    with pytest.raises(KeyboardInterrupt):
        while not session.finished:
            engine.forward()
    assert session.forwards == 7
    while not session.finished:
        engine.forward()
    while not other.finished:
        idle.forward()
    assert_same(session, other)


def test_a_view_that_grows_too_long_is_not_launched():
    model = enable(make_model(max_position_embeddings=len(PROMPT) + 20))
    engine = make_engine(model, runner=BusyDevice(model))
    session = engine.open(plain(50, Stubborn))
    while not session.finished:
        engine.forward()
    assert isinstance(session.error, ContextLengthError)
    assert engine._batcher.flown and session.forwards == 10


def test_ctrl_c_at_any_line(monkeypatch):
    monkeypatch.setattr(batcher, "_PATIENCE", 1)
    idle = make(busy=False)
    alone = idle.open(plain(12, sampling=STOCHASTIC))
    while not alone.finished:
        idle.forward()
    model = enable(make_model())
    runner = BusyDevice(model)
    flown = 0
    for line in itertools.count(1, 7):
        engine = make_engine(model, runner=runner)
        session = engine.open(plain(12, sampling=STOCHASTIC))
        for _ in range(5):
            engine.forward()
        assert engine._batcher.flown
        try:
            executed = interrupt_at(line, engine.forward)
        except KeyboardInterrupt:
            executed = None
        while not session.finished:
            engine.forward()
        assert_same(session, alone)
        assert engine.pool.reserved_pages == 0
        flown += engine._batcher.flown - engine._batcher.wasted
        session.close()
        assert engine.pool.used_pages == 0
        if executed is not None and executed < line:
            break
    assert line > 100 and flown > line


# ---------------------------------------------------------------------- by chance


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
