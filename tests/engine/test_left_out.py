"""Guests for which there is no room, where their session would end otherwise: they are left out."""

from __future__ import annotations

import pytest
from tiny import PROMPT, Writers, make_engine, undisturbed, writers

from hogwild.cache.view import ViewSpec
from hogwild.engine.events import FinishEvent
from hogwild.engine.feed import Feed
from hogwild.errors import ContextLengthError, PoolExhausted

COUNT = 40


class Asking(Writers):
    """Asks with every forward but the first how sure the model would be behind a long question.

    Attributes:
        answers: the entropies; None for what was not asked.
    """

    def __init__(self, *args, length=40, alone=False, sample=False, **options):
        super().__init__(*args, **options)
        self.answers, self._length, self._alone, self._sample = [], length, alone, sample
        self._asks = False
        if sample:
            self.workers.append("guest")
            self._pending["guest"], self.said["guest"] = (7,), []

    def start(self, store):
        store.create("side")
        return super().start(store)

    def feeds(self):
        if not self._asks:
            return self._hosts()
        view = ViewSpec(("prompt", "w0", "side"), "side")
        worker = "guest" if self._sample else "w0"
        tokens = range(3, 3 + self._length)
        question = Feed(worker, tokens, view, sample=self._sample, entropy=True, guest=True)
        return [*([] if self._alone else self._hosts()), question]

    def _hosts(self):
        return [feed for feed in super().feeds() if feed.worker != "guest"]

    def receive(self, results):
        if self._asks:
            *results, answer = results
            assert answer.left_out == (answer.entropy is None)
            self.answers.append(answer.entropy)
            self.store.clear("side")
        self._asks = not self._asks if self._alone else True
        return super().receive(results) if results else []


def asking(**options):
    return Asking(PROMPT, [(5, 6), (11,)], count=COUNT, **options)


def finish(engine, *protocols):
    """The last events of a run side by side."""
    return [e for _, e in engine.run(protocols) if isinstance(e, FinishEvent)]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("max_forward_tokens", [16, 1024])
@pytest.mark.parametrize("limit", [{"max_tokens": 16 * 11}, {"max_length": 200}])
def test_the_others_go_on_as_if_nothing_had_been_asked(limit, max_forward_tokens, alone):
    """Also where the question takes several forwards, or has them for itself, and ends in the middle of them."""
    if "max_length" in limit:
        limit = {"max_length": len(PROMPT) + 2 * COUNT + 4}
    engine = make_engine(page_size=16, max_forward_tokens=max_forward_tokens, **limit)
    protocol = asking(alone=alone, length=COUNT + 20)
    (end,) = finish(engine, protocol)
    assert end.reason == "max_forwards", end.message
    assert protocol.said == undisturbed(lambda: writers(COUNT))
    answered = [answer is not None for answer in protocol.answers]
    assert True in answered and answered == sorted(answered, reverse=True) and not answered[-1]
    assert engine.pool.used_pages == 0


def test_what_is_asked_does_not_depend_on_company():
    engine = make_engine(page_size=16, max_tokens=16 * 16)  # room for either of them, with its questions
    first, second = asking(), asking()
    assert [end.reason for end in finish(engine, first, second)] == ["max_forwards"] * 2
    assert None not in first.answers + second.answers
    assert first.said == second.said == undisturbed(lambda: writers(COUNT))


def test_a_guest_that_samples_is_not_left_out():
    protocol = asking(sample=True)
    (end,) = finish(make_engine(page_size=16, max_tokens=16 * 11), protocol)
    assert end.reason == "error" and "PoolExhausted" in end.message


def test_who_asks_for_nothing_else_again_and_again_ends():
    class Insisting(Asking):
        def receive(self, results):
            super().receive(results)
            self._asks = True
            return []

    engine = make_engine(page_size=16, max_length=len(PROMPT) + 20)
    session = engine.open(Insisting(PROMPT, count=COUNT, alone=True))
    while not session.finished:
        engine.forward()
    assert isinstance(session.error, ContextLengthError)


def test_by_hand_one_session_alone_leaves_out_what_it_asks():
    engine = make_engine(page_size=16, max_tokens=16 * 11)
    protocol, other = asking(length=COUNT + 20), Writers(PROMPT, count=1)
    session, beside = engine.open(protocol), engine.open(other)
    with pytest.raises(PoolExhausted):
        while True:
            engine.forward()
    assert None not in protocol.answers  # it is for the caller to say who waits
    beside.close()
    while not session.finished:
        engine.forward([session])
    assert protocol.said == undisturbed(lambda: writers(COUNT)) and None in protocol.answers


def test_nothing_is_left_of_a_guest_that_could_have_taken_over_what_others_wrote():
    text = (PROMPT * 4)[:40]

    class AskingAlone(Writers):
        kept = None

        def start(self, store):
            store.create("side")
            return super().start(store)

        def feeds(self):
            feeds = super().feeds()
            if len(self.said["w0"]) == 1:
                view = ViewSpec(("side",), "side")
                feeds.append(Feed("w0", [*text, *range(5, 85)], view, sample=False, entropy=True, guest=True))
            return feeds

        def receive(self, results):
            if results[-1].left_out:
                self.kept = self.store.length("side")
            return super().receive(results)

    engine = make_engine(page_size=16, max_tokens=16 * 11)
    engine.open(Writers(text, [(5,)], count=9))
    engine.forward()
    session = engine.open(protocol := AskingAlone(PROMPT, [(5,)], count=4))
    while not session.finished:
        engine.forward([session])
    assert session.error is None and protocol.kept == 0
