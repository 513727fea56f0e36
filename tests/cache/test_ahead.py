"""Integers of the next forward that were worked out ahead are those that are worked out when it comes."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from hogwild.cache import Block, ForwardPlan, Pool, View
from hogwild.cache.integers import lay_out


def write(rows, ahead=None):
    """Commit a forward; its plan."""
    plan = ForwardPlan(rows, ahead=ahead)
    plan.commit()
    return plan


def assert_same(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, field.name
        assert not isinstance(a, np.ndarray) or a.dtype == b.dtype, field.name


def random_views(rng, pool):
    """Views of one to three teams, with common blocks and empty ones, each worker's own anywhere in its view."""
    views = []
    for team in range(rng.randint(1, 3)):
        common = [Block(pool, f"{team} common {i}") for i in range(rng.randint(1, 3))]
        own = [Block(pool, f"{team} own {i}") for i in range(rng.randint(1, 4))]
        for block in common + own:
            if rng.random() < 0.7:
                write([(View([block]), rng.randint(1, 40))])
        for block in own:
            others = [b for b in own if b is not block and rng.random() < 0.8]
            shown = [common[0], *(b for b in common[1:] if rng.random() < 0.8), *others, block]
            rng.shuffle(shown)
            views.append(View(shown, block))
    return views


def scattered_views(rng, pool):
    """Views of any of some blocks, each of which is written to by one at most: a block may be seen in two groups."""
    blocks = [Block(pool, str(index)) for index in range(rng.randint(2, 7))]
    for block in blocks:
        if rng.random() < 0.7:
            write([(View([block]), rng.randint(1, 40))])
    views = []
    for own in rng.sample(blocks, rng.randint(1, len(blocks))):
        shown = [own, *(block for block in blocks if block is not own and rng.random() < 0.25)]
        rng.shuffle(shown)
        views.append(View(shown, own))
    return views


@pytest.mark.parametrize("views_of", [random_views, scattered_views])
@pytest.mark.parametrize("seed", range(40))
def test_what_was_expected_comes(seed, views_of):
    rng = random.Random(seed)
    views = views_of(rng, Pool(page_size=16))
    ahead = None
    for _ in range(40):  # over more than two page ends of every block
        rows = [(view, [rng.randrange(100)]) for view in views]
        plan = ForwardPlan(rows, ahead=ahead)
        assert_same(plan.integers, lay_out(plan.views, plan.counts, plan._reservations, 16))
        plan.commit()
        assert ahead is None or plan.integers is ahead.integers
        ahead = plan.ahead()
        assert ahead is not None


def two_workers():
    pool = Pool(page_size=16)
    common, a, b = (Block(pool, name) for name in ("common", "a", "b"))
    write([(View([common]), 20)])
    return common, a, b, [View([common, b, a]), View([common, a, b])]


def change_nothing(common, a, b, views):
    return views, [1, 1]


def crop(common, a, b, views):
    a.crop(1)
    return views, [1, 1]


def grow_elsewhere(common, a, b, views):
    write([(View([common]), 1)])
    return views, [1, 1]


def move(common, a, b, views):
    common.append_from(a, keep_other=False)
    return views, [1, 1]


def feed_several(common, a, b, views):
    return views, [1, 3]


def leave_one_out(common, a, b, views):
    return views[:1], [1]


def see_less(common, a, b, views):
    return [views[0], View([common, b])], [1, 1]


def share_the_last_page(common, a, b, views):
    share_the_last_page.fork = a.fork()  # so that it is copied before it is written to
    return views, [1, 1]


CHANGES = {
    change_nothing: True,
    crop: False,
    grow_elsewhere: False,
    move: False,
    feed_several: False,
    leave_one_out: False,
    see_less: False,
    share_the_last_page: True,
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_something_else_comes(change):
    common, a, b, views = two_workers()
    for _ in range(3):
        plan = write([(view, 1) for view in views])
    ahead = plan.ahead()
    views, counts = change(common, a, b, views)
    rows = list(zip(views, counts, strict=True))
    plan = ForwardPlan(rows, ahead=ahead)
    assert (plan.integers is ahead.integers) == CHANGES[change]
    assert_same(plan.integers, lay_out(plan.views, plan.counts, plan._reservations, 16))
    plan.commit()


def test_nothing_is_expected_after_a_prompt():
    common, _, _, views = two_workers()
    assert write([(View([common]), 5)]).ahead() is None
    assert write([(view, 1) for view in views]).ahead() is not None
    assert ForwardPlan([(view, 1) for view in views], width=1).ahead() is None
