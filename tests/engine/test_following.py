"""Forwards that are the last one but for their tokens are prepared while the device computes."""

import pytest
from tiny import PROMPT, STOCHASTIC, Writers, contents, make_engine, make_model, writers

import hogwild.engine.batcher as batcher
from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed
from hogwild.engine.rows import cut_rows, renewed, tokens_that_follow
from hogwild.engine.runner import EagerRunner
from hogwild.models import enable
from runners import BusyDevice

VIEW = ViewSpec(("prompt", "own"), "own")
OTHER = ViewSpec(("prompt", "other"), "other")


def make_busy_engine(busy=True, **options):
    model = enable(make_model())
    return make_engine(model, runner=(BusyDevice if busy else EagerRunner)(model), **options)


@pytest.fixture
def followed(monkeypatch):
    """For each forward whether it was the one that was prepared."""
    found = []
    find = batcher._tokens_that_follow

    def note(*arguments):
        tokens = find(*arguments)
        found.append(tokens is not None)
        return tokens

    monkeypatch.setattr(batcher, "_tokens_that_follow", note)
    return found


def test_tokens_that_follow():
    before = [Feed("a", (1,), VIEW), Feed("b", (2,), OTHER, sample=False, probe=((3, 4),), entropy=True)]
    after = [Feed("a", [7], VIEW), Feed("b", (8,), OTHER, sample=False, probe=((3, 4),), entropy=True)]
    assert tokens_that_follow(before, after, 9) == [(7,), (8,)]
    assert tokens_that_follow(before, after, None) == [(7,), (8,)]
    (rows,) = cut_rows(before, 100)
    assert [renewed(rows, after)] == cut_rows(after, 100)


@pytest.mark.parametrize(
    "feed",
    [
        Feed("b", (7,), VIEW),
        Feed("a", (7,), OTHER),
        Feed("a", (7,), VIEW, sample=False),
        Feed("a", (7,), VIEW, probe=((1,),)),
        Feed("a", (7,), VIEW, entropy=True),
        Feed("a", (7, 7), VIEW),
        Feed("a", (9,), VIEW),
        Feed("a", (-1,), VIEW),
        Feed("a", (True,), VIEW),
        "a feed",
    ],
)
def test_feeds_that_do_not_follow(feed):
    before = [Feed("a", (1,), VIEW)]
    assert tokens_that_follow(before, [feed], 9) is None
    assert tokens_that_follow(before, [*before, feed], 9) is None
    assert tokens_that_follow(before, [], 9) is None


def test_decoding_is_prepared(followed):
    busy, plain = make_busy_engine(), make_busy_engine(busy=False)
    sessions = []
    for engine in (busy, plain):
        sessions.append([engine.open(writers(20, sampling=STOCHASTIC)), engine.open(writers(20))])
        for _ in range(20):
            engine.forward()
    for mine, others in zip(*sessions, strict=True):
        assert contents(mine) == contents(others) and mine.protocol.said == others.protocol.said
        assert mine.finished and mine.error is None
    # after the prompts, and the forward behind them, whose like was not known
    assert followed.count(True) >= 17


def test_others_take_part_or_leave(followed):
    engine = make_busy_engine()
    first, second = engine.open(writers(30)), engine.open(writers(12))
    third = None
    while not first.finished:
        engine.forward()
        if first.forwards == 7:
            third = engine.open(writers(9))
        if first.forwards == 10:
            engine.forward([third])
    plain = make_busy_engine(busy=False)
    alone = plain.open(writers(30))
    while not alone.finished:
        plain.forward()
    for session, count in ((first, 30), (second, 12), (third, 9)):
        assert session.error is None
        assert session.protocol.said == {worker: said[:count] for worker, said in alone.protocol.said.items()}
    assert True in followed and followed.count(False) >= 3


class Replacing(Writers):
    """Its prompt's block is another one of the same name from some forward on, with as many tokens."""

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) == 6:
            self.store.fork("prompt", "kept")
            self.store.append_from("kept", "extra", keep_source=True)
            self.store.drop("prompt")
            self.store.fork("kept", "prompt")
            self.store.drop("kept")
        return events

    def start(self, store):
        events = super().start(store)
        store.create("extra")
        return events


class Asking(Writers):
    """Says something else for a moment, which nobody writes, since a call comes between."""

    aside = False

    def feeds(self):
        feeds = super().feeds()
        if self.aside:
            return [Feed("w0", (3, 4, 5), feeds[0].view, sample=False)]
        return feeds


def test_a_block_is_replaced_by_another_of_its_name():
    said = []
    for busy in (True, False):
        engine = make_busy_engine(busy)
        session = engine.open(Replacing(PROMPT, [(5,), (6,)], count=14))
        while not session.finished:
            engine.forward()
        assert session.error is None
        said.append((session.protocol.said, contents(session)))
    assert said[0] == said[1]


def test_feeds_that_nobody_wrote_are_forgotten(followed):
    said = []
    for busy in (True, False):
        engine = make_busy_engine(busy)
        session = engine.open(Asking(PROMPT, [(5,), (6,)], count=14))
        for _ in range(6):
            engine.forward()
        session.protocol.aside = True
        assert [row.tokens for row in session.next_rows()] == [(3, 4, 5)]
        session.protocol.aside = False
        session.call(lambda session: None)
        while not session.finished:
            engine.forward()
        assert session.error is None
        said.append((session.protocol.said, contents(session)))
    assert said[0] == said[1]
    assert followed.count(True) >= 11


def test_a_protocol_that_fails_in_a_prepared_forward_leaves_the_others():
    class Failing(Writers):
        def feeds(self):
            feeds = super().feeds()
            return [Feed("w0", (10**6,), feeds[0].view)] if len(self.said["w0"]) == 5 else feeds

    engine = make_busy_engine()
    failing, other = engine.open(Failing(PROMPT, [(5,)], count=20)), engine.open(writers(12))
    while not other.finished:
        engine.forward()
    assert "below the vocabulary" in str(failing.error) and failing.forwards == 5
    assert other.error is None and len(other.protocol.said["w0"]) == 12


@pytest.mark.parametrize("busy", [True, False])
def test_a_worker_without_settings_ends_its_session_only(busy):
    class Unset(Writers):
        def feeds(self):
            return [feed for feed in super().feeds() if feed.sample]

        def sampling(self, worker):
            raise LookupError(f"no settings for {worker}")

    engine = make_busy_engine(busy)
    other = engine.open(writers(12))
    for _ in range(4):
        engine.forward()
    failing = engine.open(Unset(PROMPT, [(5,)]))
    while not other.finished:
        engine.forward()
    assert isinstance(failing.error, LookupError) and failing.forwards == 0
    assert other.error is None and len(other.protocol.said["w0"]) == other.forwards == 12


def test_a_forward_that_fails_is_made_again(monkeypatch):
    engine, expected = make_busy_engine(), writers(12)
    plain = make_busy_engine(busy=False)
    session = plain.open(expected)
    while not session.finished:
        plain.forward()
    session = engine.open(writers(12))
    for _ in range(5):
        engine.forward()
    run, failed = engine.runner.run, []

    def fails(plan, rows):
        if not failed:
            failed.append(plan)
            raise RuntimeError("the model fails once")
        return run(plan, rows)

    monkeypatch.setattr(engine.runner, "run", fails)
    with pytest.raises(RuntimeError, match="fails once"):
        engine.forward()
    assert not failed[0].is_open
    while not session.finished:
        engine.forward()
    assert session.error is None and session.protocol.said == expected.said


def test_engines_that_share_a_runner_do_not_share_what_is_expected():
    model = enable(make_model())
    runner = BusyDevice(model)
    first, second = make_engine(model, runner=runner), make_engine(model, runner=runner)
    mine = first.open(Writers(PROMPT, [(5,)] * 5, count=12))
    while not mine.finished:
        first.forward()
        with second.open(Writers(PROMPT[:2], [(5,)])):  # a smaller one, after which nothing is expected
            second.forward()
    plain = make_busy_engine(busy=False)
    alone = plain.open(Writers(PROMPT, [(5,)] * 5, count=12))
    while not alone.finished:
        plain.forward()
    assert mine.error is None and mine.protocol.said == alone.protocol.said
