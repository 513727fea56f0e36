"""Prompts that several sessions begin with are written once."""

from __future__ import annotations

import threading

import pytest
from tiny import PROMPT, STOCHASTIC, Writers, contents, drive, make_engine, make_model

from hogwild.cache import Block, Pool
from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed
from hogwild.engine.prefixes import PrefixCache
from hogwild.errors import BlockError

SIZE = 16


def prompts(count=6):
    """Long prompts that begin alike, and one that does not."""
    common = (PROMPT * 4)[:150]
    return [[*common, *PROMPT[index : index + 9]] for index in range(count)] + [PROMPT[::-1]]


def run(prompts, together=True, counted=None, **options):
    """What sessions with these prompts say, each begun one forward after the one before it."""
    engine = make_engine(make_model(), page_size=SIZE, **options)
    inner = engine.runner.run

    def counting(plan, rows):
        if counted is not None:
            counted.append(sum(plan.counts))
        return inner(plan, rows)

    engine.runner.run = counting
    protocols = [Writers(p, [(5, 6), (7,)], count=10, sampling=STOCHASTIC) for p in prompts]
    sessions = []
    for protocol in protocols:
        sessions.append(engine.open(protocol))
        engine.forward() if together else drive_to_end(engine, sessions[-1])
    while any(not session.finished for session in sessions):
        engine.forward()
    assert all(session.error is None for session in sessions)
    held = engine.pool.used_pages
    texts = [contents(session) for session in sessions]
    for session in sessions:
        session.close()
    assert engine.pool.used_pages == 0 and len(engine._prefixes) == 0
    return [protocol.said for protocol in protocols], texts, held


def drive_to_end(engine, session):
    while not session.finished:
        engine.forward([session])
    session.close()


def test_a_common_prompt_is_written_once_and_changes_nothing():
    alone = [run([prompt])[0][0] for prompt in prompts()]
    counted = []
    said, texts, held = run(prompts(), counted=counted)
    assert said == alone
    assert [text["prompt"] for text in texts] == prompts()
    decoding = 7 * 2 * 10 + 7  # tokens that are fed while decoding; the first worker begins with two
    shared = 150 // SIZE * SIZE
    assert sum(counted) == decoding + sum(map(len, prompts())) - 5 * shared
    assert held < 7 * (159 // SIZE + 1 + 2 * 2) - 5 * (150 // SIZE) + 1


def test_pieces_of_a_prompt_that_is_being_written_are_taken_over():
    """What a session has written by the time another begins, that one does not write."""
    long = (PROMPT * 8)[:300]
    counted = []
    engine_options = {"max_forward_tokens": 40}
    said, _, _ = run([long] * 4, counted=counted, **engine_options)
    assert said == [run([long], **engine_options)[0][0]] * 4
    assert sum(counted) < 4 * 300  # of which 84 are not the prompt


def test_sessions_that_follow_each_other_share_nothing():
    counted = []
    run(prompts(2)[:2], together=False, counted=counted)
    assert sum(counted) > 2 * 159


class TwoBlocks(Writers):
    """The prompt is written while another block is in view."""

    def start(self, store):
        store.create("before")
        return super().start(store)

    def feeds(self):
        feeds = super().feeds()
        if self._fresh:
            before = Feed(self.workers[0], (3, 4), ViewSpec(("before",), "before"), sample=False)
            spec = ViewSpec(("before", "prompt"), "prompt")
            feeds = [before, Feed(self.workers[0], self._prompt, spec, sample=False), *feeds[1:]]
        return feeds


def test_what_saw_other_blocks_is_no_prefix():
    engine = make_engine(make_model(), page_size=SIZE)
    with engine.open(TwoBlocks(prompts()[0])) as session:
        engine.forward([session])
        assert len(engine._prefixes) == 0
        protocol = Writers(prompts()[0])
        drive(engine, protocol)
        assert protocol.said == run_alone(prompts()[0])


def run_alone(prompt):
    protocol = Writers(prompt)
    drive(make_engine(make_model(), page_size=SIZE), protocol)
    return protocol.said


def test_a_failed_forward_takes_nothing_over(monkeypatch):
    engine = make_engine(make_model(), page_size=SIZE)
    first = engine.open(Writers(prompts()[0]))
    engine.forward([first])
    protocol = Writers(prompts()[1])
    second = engine.open(protocol)
    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "run", lambda plan, rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.forward([second])
    assert contents(second) == {"prompt": [], "w0": []}
    while not second.finished:
        engine.forward([second])
    assert protocol.said == run_alone(prompts()[1])


def test_a_call_between_feeds_finds_the_blocks_as_they_were():
    engine = make_engine(make_model(), page_size=SIZE, max_forward_tokens=200)
    first = engine.open(Writers(prompts()[0]))
    engine.forward([first])
    second = engine.open(Writers(prompts()[1]))
    second.next_rows()
    second.skip_written()
    assert second.blocks.length("prompt") == 144
    assert second.call(lambda session: session.blocks.length("prompt")) == 0


def test_taking_over():
    pool = Pool(page_size=SIZE)
    one, other, elsewhere = Block(pool), Block(pool), Block(Pool(page_size=SIZE))
    one.pages.extend(pool.allocate(3))
    one.tokens.extend(range(40))
    other.pages.extend(pool.allocate(1))
    other.tokens.append(5)
    other.take_over(one, 32)
    assert other.tokens == list(range(32)) and other.pages == one.pages[:2] and pool.used_pages == 3
    for bad in (other, elsewhere):
        with pytest.raises(BlockError, match="expected another block of the pool"):
            other.take_over(bad, 0)
    with pytest.raises(ValueError, match="expected 0 to 40"):
        other.take_over(one, 41)

    cache = PrefixCache(pool)
    assert cache.add(one, 15) is None
    prefixes = [cache.add(one, 40), cache.add(other, 32), cache.add(other, 20)]
    assert prefixes[0] is prefixes[1] is not prefixes[2] and len(cache) == 2
    assert cache.find([*range(32)], 0) == (prefixes[0], 16)
    assert cache.find([*range(33)], 0) == (prefixes[0], 32) and cache.find([*range(33)], 32) is None
    assert cache.find([1, *range(32)], 0) is None
    for prefix, block in zip(prefixes, (one, other, other), strict=True):
        cache.release(prefix, block)
    assert len(cache) == 0 and pool.used_pages == 3


def held_by(session):
    return len({page for name in session.blocks for page in session.blocks[name].pages})


def test_a_session_keeps_no_pages_that_others_wrote_besides():
    """Two write the same prompt in one forward, to pages of their own; a third takes over a part of it."""
    engine = make_engine(make_model(), page_size=SIZE)
    first, second = engine.open(Writers(prompts()[0])), engine.open(Writers(prompts()[0]))
    engine.forward()
    third = engine.open(Writers(prompts()[0][:40]))
    engine.forward()
    assert engine.pool.used_pages == held_by(first) + held_by(second) + held_by(third) - 2
    first.close()
    second.close()
    assert engine.pool.used_pages == held_by(third)
    third.close()
    assert engine.pool.used_pages == 0 and len(engine._prefixes) == 0


class Forgetful(Writers):
    """Drops the prompt after a while, and then writes so much that it needs the room."""

    def receive(self, results):
        events = super().receive(results)
        if len(self.said["w0"]) == 3:
            self.store.clear("prompt")
            self._pending["w0"] = tuple(range(5, 95))
        return events


def assert_says_six(engine, protocol, run):
    """Runs it to its end, by hand or by the scheduler."""
    if run == "by hand":
        (session,) = drive(engine, protocol)
        assert session.error is None
    else:
        list(engine.stream(protocol))
    assert len(protocol.said["w0"]) == 6


@pytest.mark.parametrize("run", ["by hand", "scheduled"])
def test_a_prompt_that_was_dropped_takes_no_room(run):
    engine = make_engine(make_model(), page_size=SIZE, max_tokens=7 * SIZE)
    protocol = Forgetful(prompts()[0][:90], count=6)
    assert_says_six(engine, protocol, run)


class GoesOn(Writers):
    """Crops its prompt in the middle of a page that others may take over, and writes on behind it."""

    def start(self, store):
        self.store = store
        store.create("text")
        return []

    def feeds(self):
        said = self.said["w0"]
        return [Feed("w0", (said[-1],) if said else self._prompt, ViewSpec(("text",), "text"))]

    def receive(self, results):
        if not self.said["w0"]:
            self.store.crop("text", SIZE + 8)
        return super().receive(results)


@pytest.mark.parametrize("pages", [2, 3])
@pytest.mark.parametrize("run", ["by hand", "scheduled"])
def test_who_goes_on_in_a_cropped_prompt_needs_no_room_for_a_copy(run, pages):
    engine = make_engine(make_model(), page_size=SIZE, max_tokens=pages * SIZE)
    protocol = GoesOn((PROMPT * 3)[: 2 * SIZE], count=6)
    assert_says_six(engine, protocol, run)


def test_a_full_pool_gets_back_what_no_owner_has_any_more():
    pool = Pool(page_size=SIZE, max_tokens=2 * SIZE)
    cache, block = PrefixCache(pool), Block(pool)
    block.pages.extend(pool.allocate(2))
    block.tokens.extend(range(32))
    prefix = cache.add(block, 32)
    assert not pool.has_room(1) and len(cache) == 1
    block.crop(24)  # unless it gives way, what is written next goes to a copy of the second page
    assert not pool.has_room(1) and len(cache) == 0 and not pool.is_shared(block.pages[1])
    block.clear()
    assert len(pool.allocate(2)) == 2
    cache.release(prefix, block)


def test_a_prefix_that_another_thread_lets_go_of_is_not_taken_over_half_gone(monkeypatch):
    """A session may be closed by its own thread just when a forward finds what it has written."""
    engine = make_engine(make_model(), page_size=SIZE)
    first = engine.open(Writers(PROMPT * 2, count=9))
    engine.forward()
    second = engine.open(Writers(PROMPT * 2, count=9))
    find, threads = engine._prefixes.find, []

    def finding(tokens, known):
        found = find(tokens, known)
        if not threads:
            threads.append(threading.Thread(target=first.close))
            threads[0].start()
            threads[0].join(0.5)
        return found

    monkeypatch.setattr(engine._prefixes, "find", finding)
    engine.forward([second])
    threads[0].join()
    pool = engine.pool
    held = [page for name in second.blocks for page in second.blocks[name].pages]
    assert held and not set(held) & set(pool._free)
    second.close()
    assert sorted(pool._free) == list(range(pool.num_pages))
