"""What goes wrong while a forward is in flight."""

import itertools

import pytest
from flying import ANY, Plain, Stubborn, assert_same, both, make, plain
from interrupting import interrupt_at
from tiny import PROMPT, STOCHASTIC, contents, make_engine, make_model

import hogwild.engine.batcher as batcher
from hogwild.engine.static import StaticForward
from hogwild.errors import ContextLengthError
from hogwild.models import enable
from runners import BusyDevice


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
