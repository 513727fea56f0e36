"""Cutting feeds into forwards, and feeds that cannot share one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hogwild.cache.view import ViewSpec
from hogwild.engine.feed import Feed
from hogwild.engine.rows import check_feeds, cut_rows
from hogwild.errors import BlockError, UnknownNameError


def feed(name, count, sample=True, guest=False):
    return Feed(name, tuple(range(count)), ViewSpec((name,), name), sample, guest=guest)


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=8), st.integers(1, 40))
def test_every_token_once_and_in_order(sizes, max_tokens):
    feeds = [feed(f"w{i}", count, sample) for i, (count, sample) in enumerate(sizes)]
    forwards = cut_rows(feeds, max_tokens)
    rows = [row for rows in forwards for row in rows]
    for index, item in enumerate(feeds):
        parts = [row for row in rows if row.feed == index]
        assert tuple(token for row in parts for token in row.tokens) == item.tokens
        assert [row.sample for row in parts] == [False] * (len(parts) - 1) + [item.sample]
        assert {(row.worker, row.view) for row in parts} == {(item.worker, item.view)}
    assert [row.feed for row in rows] == sorted(row.feed for row in rows)
    assert all(0 < sum(len(row.tokens) for row in rows) <= max_tokens for rows in forwards)
    for rows in forwards:  # a block is written at most once a forward
        assert len({row.view.write_to for row in rows}) == len(rows)


def test_what_fits_is_one_forward():
    feeds = [feed("a", 10, sample=False), feed("b", 3), feed("c", 3)]
    assert [len(rows) for rows in cut_rows(feeds, 16)] == [3]
    assert cut_rows([], 16) == []


def test_workers_that_fit_together_stay_together():
    feeds = [feed("prompt", 14, sample=False), feed("b", 3), feed("c", 3)]
    forwards = cut_rows(feeds, 16)
    assert [[(row.worker, len(row.tokens)) for row in rows] for rows in forwards] == [
        [("prompt", 14)],
        [("b", 3), ("c", 3)],
    ]


@given(st.lists(st.integers(1, 30), max_size=5), st.lists(st.integers(1, 30), max_size=3), st.integers(1, 40))
def test_guests_change_nothing_of_how_the_others_are_cut(hosts, guests, max_tokens):
    own = [feed(f"w{i}", count) for i, count in enumerate(hosts)]
    feeds = own + [feed(f"g{i}", count, guest=True) for i, count in enumerate(guests)]
    check_feeds(feeds)
    expected = cut_rows(own, max_tokens)
    forwards = cut_rows(feeds, max_tokens)
    without = [[row for row in rows if not row.guest] for rows in forwards]
    assert [rows for rows in without if rows] == expected
    assert all(not row.guest for rows in forwards[: max(0, len(expected) - 1)] for row in rows)
    apart = cut_rows(feeds[len(own) :], max_tokens)
    beside = [[row for row in rows if row.guest] for rows in forwards[max(0, len(expected) - 1) :]]
    as_if_alone = [[row._replace(feed=row.feed - len(own)) for row in rows] for rows in beside]
    assert as_if_alone == apart or (not guests and not any(as_if_alone))
    assert len(forwards) == len(expected) + len(apart) - bool(hosts and guests)


def test_guests_come_last_and_nobody_sees_what_they_write():
    with pytest.raises(ValueError, match=r"guests are expected behind all others, got \[True, False\]"):
        check_feeds([feed("a", 1, guest=True), feed("b", 1)])
    curious = Feed("b", (1,), ViewSpec(("a", "b"), "b"))
    with pytest.raises(BlockError, match="worker 'b' sees block 'a', which a guest of worker 'a' writes to"):
        check_feeds([curious, feed("a", 1, guest=True)])
    check_feeds([feed("a", 1), Feed("b", (1,), ViewSpec(("a", "b"), "b"), guest=True)])


def test_two_writers_of_one_block():
    view = ViewSpec(("notes",), "notes")
    with pytest.raises(BlockError, match="workers 'Ada' and 'Kurt' both write to block 'notes'"):
        check_feeds([Feed("Ada", (1,), view), Feed("Kurt", (2,), view)])


def test_a_worker_that_samples_twice():
    with pytest.raises(ValueError, match="worker 'Ada' samples in two feeds"):
        check_feeds([Feed("Ada", (1,), ViewSpec(("a",), "a")), Feed("Ada", (2,), ViewSpec(("b",), "b"))])
    check_feeds([Feed("Ada", (1,), ViewSpec(("a",), "a")), Feed("Ada", (2,), ViewSpec(("b",), "b"), False)])


def test_workers_and_token_ids_that_do_not_exist():
    def one(worker, *tokens):
        return [Feed(worker, tokens, ViewSpec(("a",), "a"))]

    check_feeds(one("Ada", 0, 99), ["Ada"], 100)
    with pytest.raises(UnknownNameError, match="unknown worker 'ghost'; expected one of: Ada, Kurt"):
        check_feeds(one("ghost", 1), ["Ada", "Kurt"])
    for token in (100, -1):
        with pytest.raises(ValueError, match=f"worker 'Ada': expected .* size of 100, got {token}$"):
            check_feeds(one("Ada", 1, token), ["Ada"], 100)
    for token in (1.0, "a", None, True):
        with pytest.raises(TypeError, match=f"worker 'Ada': expected token ids.*, got {token!r}"):
            check_feeds(one("Ada", token))


def test_not_feeds_and_empty_feeds():
    with pytest.raises(TypeError, match="expected Feed objects, got tuple"):
        check_feeds([(1, 2)])
    with pytest.raises(ValueError, match="worker 'Ada': tokens is empty"):
        Feed("Ada", (), ViewSpec(("a",), "a"))
