"""A protocol that fails in any of its parts ends its own session, and costs the others nothing."""

import re

import pytest
from background import SOON, Endless
from tiny import PROMPT, Writers, make_engine, undisturbed, writers

from hogwild.cache import Pool, ViewSpec
from hogwild.engine import Feed, SamplingParams
from hogwild.engine.rows import check_feeds
from hogwild.errors import HogwildError


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
        (
            lambda: check_feeds([Feed("w0", [5], "a")]),
            "feed of worker 'w0': view: expected a ViewSpec, got 'a'",
        ),
        (lambda: SamplingParams(forbidden_tokens=3), "forbidden_tokens: expected token ids, got 3"),
        (lambda: SamplingParams(forbidden_tokens="12"), "forbidden_tokens: expected token ids, got '12'"),
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
