"""A forward of hosts and guests: two layouts, one commit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hogwild.cache import Block, ForwardPlan, PlanWithGuests, Pool, View
from hogwild.errors import BlockError, PoolExhausted


@pytest.fixture
def blocks():
    """A prompt, two streams that see each other, and a side block."""
    pool = Pool(page_size=16, max_tokens=80)
    names = ("prompt", "a", "b", "side")
    made = {name: Block(pool, name) for name in names}
    plan = ForwardPlan([(View([made["prompt"]]), [1, 2, 3, 4, 5])])
    plan.commit()
    return made


def hosts(blocks, a=(7,), b=(8, 9)):
    prompt, one, two = (blocks[name] for name in ("prompt", "a", "b"))
    return [(View([prompt, two, one]), list(a)), (View([prompt, one, two]), list(b))]


def guests(blocks, tokens=(6, 6, 6)):
    return [(View([blocks["prompt"], blocks["b"], blocks["a"], blocks["side"]]), list(tokens))]


def lengths(blocks):
    return {name: len(block) for name, block in blocks.items()}


def test_hosts_are_laid_out_as_if_alone_and_guests_see_their_new_tokens(blocks):
    alone = ForwardPlan(hosts(blocks))
    expected = alone.integers
    alone.rollback()
    plan = PlanWithGuests(hosts(blocks), guests(blocks))
    found = plan.parts[0].integers
    for field in dataclasses.fields(expected):
        if field.name in ("slots", "block_pages"):  # which pages are free is chance
            continue
        one, other = getattr(expected, field.name), getattr(found, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name
    assert plan.counts == [1, 2, 3] and plan.num_tokens == 6 and plan.last_rows == [0, 2, 5]
    assert plan.view_lengths == [8, 8, 11]
    assert [part.token_ids for part in plan.parts] == [[7, 8, 9], [6, 6, 6]]
    # of the guest's three tokens: the prompt's first is 8 to 10 tokens back, b's first 3 to 5, a's 1 to 3
    assert plan.parts[1].integers.query_pos.tolist() == [[8, 3, 1, 0], [9, 4, 2, 1], [10, 5, 3, 2]]
    assert plan.parts[1].integers.block_lens == [5, 2, 1, 3]
    plan.commit()
    assert lengths(blocks) == {"prompt": 5, "a": 1, "b": 2, "side": 3}


def test_rows_of_both_parts_are_committed_by_choice(blocks):
    plan = PlanWithGuests(hosts(blocks), guests(blocks))
    plan.commit([1])
    assert lengths(blocks) == {"prompt": 5, "a": 0, "b": 2, "side": 0}
    plan = PlanWithGuests(hosts(blocks), guests(blocks))
    plan.commit([2, 0])
    assert lengths(blocks) == {"prompt": 5, "a": 1, "b": 2, "side": 3}


def test_all_of_it_or_nothing(blocks):
    pool, before = blocks["prompt"].pool, lengths(blocks)
    used = pool.used_pages
    with pytest.raises(PoolExhausted):
        PlanWithGuests(hosts(blocks), guests(blocks, range(33)))
    assert pool.used_pages == used and pool.reserved_pages == 0
    plan = PlanWithGuests(hosts(blocks), guests(blocks))
    plan.rollback()
    plan.rollback()
    assert lengths(blocks) == before and pool.used_pages == used and pool.reserved_pages == 0
    plan = PlanWithGuests(hosts(blocks), guests(blocks))
    other = ForwardPlan([(View([blocks["side"]]), [1])])
    other.commit()  # meanwhile
    with pytest.raises(BlockError, match="was changed while a forward was writing to it"):
        plan.commit()
    assert lengths(blocks) == {**before, "side": 1}
    plan.rollback()
    assert pool.reserved_pages == 0


def test_a_guest_that_would_leave_a_trace_is_refused(blocks):
    prompt, side = blocks["prompt"], blocks["side"]
    curious = [(View([prompt, side, blocks["a"]]), [1])]
    with pytest.raises(BlockError, match=r"guests\[0\]: it writes to .*side.*, which a host sees"):
        PlanWithGuests(curious, guests(blocks))
    assert prompt.pool.reserved_pages == 0
