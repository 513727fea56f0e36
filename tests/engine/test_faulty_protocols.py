"""A protocol that fails in any of its parts ends its own session, and costs the others nothing."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from background import SOON, Endless, until
from tiny import PROMPT, Writers, make_engine, make_model, undisturbed, writers

from hogwild.cache import BlockSet, Pool, ViewSpec
from hogwild.engine import Feed, SamplingParams
from hogwild.engine.rows import check_feeds
from hogwild.errors import HogwildError, PoolExhausted
from hogwild.models import binding_of, enable


class AtTheEnd(Endless):
    """Fails when it is told that it has ended."""

    error = ValueError("stop")

    def stop(self):
        raise self.error


class OnExit(AtTheEnd):
    error = SystemExit(3)


class WhenAsked(Endless):
    """Fails to say whether anything came from outside."""

    @property
    def has_messages(self):
        raise ValueError("has_messages")


class NoEvents(Writers):
    """Tells something that is no event."""

    received = 0

    def receive(self, results):
        self.received += 1
        return ["token"]


class NoReason(Writers):
    """Ends for a reason that there is not."""

    def receive(self, results):
        self.finish_reason = "tired"
        return []


@pytest.mark.parametrize("kind", [AtTheEnd, OnExit])
def test_who_fails_when_it_is_stopped_has_ended_all_the_same(kind):
    with make_engine() as engine:
        good, bad = engine.submit(protocol := writers(40)), engine.submit(kind())
        bad.cancel()
        assert bad.result(SOON).reason == "cancelled"
        assert good.result(SOON).reason == "max_forwards"
        assert protocol.said == undisturbed(lambda: writers(40))
        engine.submit(kind())
    assert engine.pool.used_pages == 0


def test_who_fails_to_say_whether_it_has_messages_ends_alone():
    """It is asked while its rows wait for their turn."""
    engine = make_engine()
    good, bad = engine.open(writers(4)), engine.open(WhenAsked())
    bad.next_rows()
    while not good.finished:
        engine.forward()
    assert repr(bad.error) == "ValueError('has_messages')"
    assert good.protocol.said == undisturbed(lambda: writers(4))


def test_not_even_an_exit_in_has_messages_reaches_others():
    """In any thread but the main one, where it may be a Ctrl-C."""

    class Exits(Endless):
        @property
        def has_messages(self):
            raise SystemExit(3)

    engine = make_engine()
    good, bad = engine.open(writers(4)), engine.open(Exits())
    bad.next_rows()
    with ThreadPoolExecutor(1) as thread:
        while not good.finished:
            thread.submit(engine.forward).result()
    assert repr(bad.error) == "SystemExit(3)"
    assert good.protocol.said == undisturbed(lambda: writers(4))


class Nameless(Endless):
    """Cannot say any more who its workers are, though it feeds them as ever."""

    lost = False

    @property
    def workers(self):
        if self.lost and not self._busy:
            raise ValueError("workers")
        return ["w0", "w1"]

    @workers.setter
    def workers(self, names):
        self._busy = False

    def feeds(self):
        return self._in_peace(super().feeds)

    def receive(self, results):
        return self._in_peace(super().receive, results)

    def _in_peace(self, method, *arguments):
        self._busy = True
        try:
            return method(*arguments)
        finally:
            self._busy = False


def test_who_loses_its_workers_ends_alone():
    """They are counted when others ask for room."""
    with make_engine(page_size=16, max_tokens=16 * 60) as engine:
        good, bad = engine.submit(protocol := writers(200)), engine.submit(broken := Nameless())
        until(lambda: broken.said["w0"])
        broken.lost = True
        assert engine.submit(writers(3)).result(SOON).reason == "max_forwards"
        assert good.result(SOON).reason == "max_forwards"
        assert protocol.said == undisturbed(lambda: writers(200))
        with pytest.raises(ValueError, match="workers"):
            bad.result(SOON)


class Undoing(Writers):
    """Needs room for two copies of its prompt at once, and drops what it has of them where there is none."""

    def receive(self, results):
        if self._fresh:
            try:
                for name in ("first", "second"):
                    self.store.create(name)
                    self.store.append_from(name, "prompt", keep_source=True)
            except PoolExhausted:
                for name in ("first", "second"):
                    if name in self.store:
                        self.store.drop(name)
                raise
        return super().receive(results)


class Greedy(Writers):
    """Always says that there is no room."""

    def receive(self, results):
        raise PoolExhausted(1, 0, 16)


@pytest.mark.parametrize("pages", [14, 40, None])
def test_who_never_has_room_enough_ends_alone(pages):
    limit = None if pages is None else 16 * pages
    with make_engine(page_size=16, max_tokens=limit) as engine:
        good, bad = engine.submit(protocol := writers(40)), engine.submit(Greedy(PROMPT, [(5,)]))
        with pytest.raises(PoolExhausted):
            bad.result(SOON)
        assert good.result(SOON).reason == "max_forwards"
        assert protocol.said == undisturbed(lambda: writers(40))
    assert engine.pool.used_pages == 0


@pytest.mark.parametrize("pages", [21, 23, 28])
def test_who_undoes_what_it_has_done_gets_more_room_each_time(pages):
    prompt = (PROMPT * 4)[:96]
    with make_engine(page_size=16, max_tokens=16 * pages) as engine:
        others = [engine.submit(Endless()) for _ in range(2)]
        protocol = Undoing(prompt, [(5,)], count=5)
        assert engine.submit(protocol).result(SOON).reason == "max_forwards"
        assert len(protocol.said["w0"]) == 5
        for other in others:
            other.cancel()


def test_an_exit_at_the_end_keeps_no_pages_and_no_other_session_open():
    class Leaves(Endless):
        def stop(self):
            raise KeyboardInterrupt

    engine = make_engine()
    sessions = [engine.open(Leaves()), engine.open(writers(9)), engine.open(Leaves())]
    engine.forward()
    with pytest.raises(KeyboardInterrupt):
        sessions[0].close()
    assert sessions[0].closed and not sessions[0].blocks.names()
    with pytest.raises(KeyboardInterrupt):
        engine.close()
    assert all(session.closed for session in sessions) and engine.pool.used_pages == 0


def test_blocks_stay_as_they_are_where_opening_fails():
    engine = make_engine()
    with engine.open(used := writers(4)) as session:
        engine.forward()
        mine = session.blocks.copy()
    before = {name: mine.tokens(name) for name in mine.names()}
    for protocol, error in ((used, HogwildError), (3, TypeError)):
        with pytest.raises(error):
            engine.open(protocol, blocks=mine)
        assert {name: mine.tokens(name) for name in mine.names()} == before
    with pytest.raises(TypeError, match="blocks: expected a BlockSet, got"):
        engine.open(writers(4), blocks={})


def test_a_refused_engine_changes_nothing_of_the_model():
    model = enable(make_model())
    before = binding_of(model).max_length
    with pytest.raises(ValueError, match="compile: expected one of none, layers, model; got 'bogus'"):
        make_engine(model, max_length=100, compile="bogus")
    assert binding_of(model).max_length == before


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoEvents, "protocol 'writers': expected Event objects, got 'token'"),
        (NoReason, "unknown finish reason 'tired'"),
    ],
)
def test_what_receive_says_wrongly_ends_its_session_at_once(kind, message):
    engine = make_engine()
    good, bad = engine.open(writers(4)), engine.open(kind(PROMPT, [(5,)]))
    engine.forward()
    assert message in str(bad.error) and bad.finished
    assert getattr(bad.protocol, "received", 1) == 1
    while not good.finished:
        engine.forward()
    assert good.protocol.said == undisturbed(lambda: writers(4))


def test_settings_of_the_wrong_type_are_named():
    class NoSettings(Writers):
        def sampling(self, worker):
            return {"temperature": 1.0}

    with make_engine() as engine:
        with pytest.raises(TypeError, match="sampling of worker 'w0': expected SamplingParams, got"):
            engine.submit(NoSettings(PROMPT, [(5,)])).result(SOON)
    for bad in (1.5, "64", True):
        with pytest.raises(TypeError, match="max_tokens: expected an integer >= 1 or None"):
            make_engine(max_tokens=bad)
    with pytest.raises(ValueError, match="max_tokens: expected at most 268,435,456 or None"):
        make_engine(max_tokens=2**70)
    with pytest.raises(TypeError, match="pool: expected a Pool, got 3"):
        make_engine(pool=3)
    with pytest.raises(TypeError, match="blocks: expected names of blocks, got 'ab'"):
        ViewSpec("ab", "a")


@pytest.mark.parametrize("bad", [None, Writers, "writers"])
def test_what_is_no_protocol_is_refused(bad):
    with make_engine() as engine:
        for run in (engine.submit, engine.open, lambda bad: list(engine.run([bad]))):
            with pytest.raises(TypeError, match="protocol: expected a Protocol, got"):
                run(bad)
        assert engine.submit(writers(3)).result(SOON).reason == "max_forwards"


@pytest.mark.parametrize("bad", [3, b"w", ["w"]])
def test_names_of_sessions_are_text(bad):
    with make_engine() as engine:
        for run in (engine.submit, engine.open):
            with pytest.raises(TypeError, match="name: expected text or None, got"):
                run(writers(3), name=bad)
        assert engine.pool.used_pages == 0
        assert engine.submit(writers(3), name="a").result(SOON).reason == "max_forwards"


def test_waits_and_calls_say_what_they_expect():
    with make_engine() as engine:
        handle = engine.submit(Endless())
        for timeout in ("1", float("nan")):
            with pytest.raises(TypeError, match="timeout: expected seconds or None"):
                handle.result(timeout)
        with pytest.raises(TypeError, match="function: expected what can be called with a Session, got None"):
            handle.call(None)
        handle.call(lambda session: setattr(session.protocol, "finish_reason", "eos"))
        assert handle.wait(float("inf")) and handle.wait(1e300)
        with pytest.raises(HogwildError, match="it has ended"):
            handle.call(len).result(SOON)


VIEW = ViewSpec(("a",), "a")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Feed("w0", 5, VIEW), "feed of worker 'w0': tokens: expected token ids, got 5"),
        (lambda: Feed("w0", b"12", VIEW), "feed of worker 'w0': tokens: expected token ids, got b'12'"),
        (lambda: Feed("w0", "12", VIEW), "feed of worker 'w0': tokens: expected token ids, got '12'"),
        (lambda: Feed("w0", {1: 2}, VIEW), "feed of worker 'w0': tokens: expected token ids, got {1: 2}"),
        (lambda: Feed("w0", {1}, VIEW), "feed of worker 'w0': tokens: expected token ids, got {1}"),
        (lambda: BlockSet(3), "pool: expected a Pool, got 3"),
        (
            lambda: check_feeds([Feed("w0", [5], "a")]),
            "feed of worker 'w0': view: expected a ViewSpec, got 'a'",
        ),
        (lambda: SamplingParams(forbidden_tokens=3), "forbidden_tokens: expected token ids, got 3"),
        (lambda: SamplingParams(forbidden_tokens="12"), "forbidden_tokens: expected token ids, got '12'"),
        (lambda: SamplingParams(forbidden_tokens=b"12"), "forbidden_tokens: expected token ids, got b'12'"),
        (
            lambda: Feed("w0", [5], VIEW, probe=5),
            "feed of worker 'w0': probe: expected sets of token ids, got 5",
        ),
        (
            lambda: check_feeds([Feed("w0", [5], VIEW, entropy=-1)]),
            "feed of worker 'w0': entropy: expected True or False, got -1",
        ),
        (
            lambda: Feed("w0", (1,), ViewSpec(("a",), "a"), probe=None),
            "feed of worker 'w0': probe: expected sets of token ids, got None",
        ),
        (lambda: ViewSpec(3, "a"), "blocks: expected names of blocks, got 3"),
        (lambda: SamplingParams(temperature=10**400), "temperature: expected a finite number >= 0"),
        (
            lambda: SamplingParams(repetition_penalty=1e-300),
            "repetition_penalty: expected a finite number >=",
        ),
        (lambda: SamplingParams(logprobs="yes"), "logprobs: expected True or False, got 'yes'"),
        (lambda: make_engine().forward([3]), "sessions: expected Session objects, got 3"),
        (lambda: list(make_engine().run(Endless())), "protocols: expected a list of Protocol objects, got"),
        (lambda: make_engine(runner=3), "runner: expected a runner, got 3"),
        (lambda: Pool(page_size=16.0), "page_size: expected 16, 32 or 64, got 16.0"),
    ],
)
def test_arguments_of_the_wrong_type_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("start", None, "expected a list of Event objects, got None"),
        ("feeds", None, "expected a list of Feed objects, got None"),
        ("receive", 7, "expected a list of Event objects, got 7"),
    ],
)
def test_hooks_that_give_something_else_end_their_session(hook, value, message):
    kind = type("Odd", (Writers,), {hook: lambda self, *arguments: value})
    engine = make_engine()
    good = engine.open(writers(4))
    if hook == "start":
        with pytest.raises(TypeError, match=message):
            engine.open(kind(PROMPT, [(5,)]))
    else:
        bad = engine.open(kind(PROMPT, [(5,)]))
        engine.forward()
        assert message in str(bad.error)
    while not good.finished:
        engine.forward()
    assert good.protocol.said == undisturbed(lambda: writers(4))


def test_a_protocol_that_fails_to_take_the_callback_keeps_no_pages():
    class Deaf(Writers):
        def notify(self, callback):
            raise RuntimeError("deaf")

    with make_engine(max_tokens=16 * 14) as engine:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="deaf"):
                engine.submit(Deaf(PROMPT, [(5,)]))
        assert engine.pool.free_pages == engine.pool.max_pages
        assert engine.submit(writers(3)).result(SOON).reason == "max_forwards"
