"""What a forward of fixed size is given depends on this forward alone, whatever came before and was broken off."""

from __future__ import annotations

import itertools
import random
import sys
from contextlib import contextmanager

import pytest
import torch

from hogwild.cache import (
    Block,
    BlockSet,
    ForwardInputs,
    ForwardPlan,
    Pool,
    Sizes,
    View,
    ViewSpec,
    inputs,
    store,
)

SIZES = Sizes(tokens=16, groups=4, blocks=8, columns=4, pages=8)


@contextmanager
def interrupted(module, line):
    """A Ctrl-C before the n-th line of a module that is run in here."""
    count = itertools.count()

    def trace(frame, event, argument):
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and next(count) == line:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def random_plan(rng, teams):
    """A plan over one of some teams, or over several."""
    rows = []
    for blocks in rng.sample(teams, rng.randint(1, 2)):
        for own in rng.sample(blocks[1:], rng.randint(1, 2)):
            others = [block for block in blocks if block is not own]
            rows.append((View([*others, own]), [rng.randrange(100) for _ in range(rng.choice((1, 1, 3)))]))
    return ForwardPlan(rows)


def assert_given(given, plan):
    """`given` is what new inputs would be given."""
    fresh = ForwardInputs(SIZES, torch.device("cpu"))
    fresh.load(plan.integers, plan.token_ids, plan.last_rows)
    for name in ("input_ids", "position_ids", "rows"):
        assert torch.equal(getattr(given, name), getattr(fresh, name)), name
    for name, tensor in vars(fresh.metadata).items():
        if name != "block_table":
            assert torch.equal(getattr(given.metadata, name), tensor), name
    for row, pages in enumerate(plan.integers.block_pages):
        assert given.metadata.block_table[row, : len(pages)].tolist() == pages


@pytest.mark.parametrize("seed", range(30))
def test_forwards_that_are_prepared_loaded_and_broken_off(seed):
    rng = random.Random(seed)
    pool = Pool(page_size=16)
    teams = [[Block(pool, f"{team} {index}") for index in range(3)] for team in range(2)]
    for block in itertools.chain(*teams):
        ForwardPlan([(View([block]), rng.randint(1, 40))]).commit()
    given = ForwardInputs(SIZES, torch.device("cpu"))
    broken = 0
    for _ in range(60):
        plan = random_plan(rng, teams)
        if rng.random() < 0.3:
            given.prepare(plan.integers)
        if rng.random() < 0.3:  # of a forward that does not come
            other = random_plan(rng, teams)
            given.prepare(other.integers)
            other.rollback()
        try:
            with interrupted(inputs, rng.randrange(160)):
                given.load(plan.integers, plan.token_ids, plan.last_rows)
        except KeyboardInterrupt:
            broken += 1
        else:
            assert_given(given, plan)
        plan.commit() if rng.random() < 0.5 else plan.rollback()
        block = rng.choice(teams[rng.randrange(2)])
        if len(block) > 60:
            block.crop(rng.randint(0, 40))
    assert 5 < broken < 55


def test_a_block_table_that_was_half_written_is_written_again():
    pool = Pool(page_size=16)
    one, other = Block(pool), Block(pool)
    for block in (one, other):
        ForwardPlan([(View([block]), 20)]).commit()
    for line in itertools.count():
        given = ForwardInputs(SIZES, torch.device("cpu"))
        plans = [ForwardPlan([(View([block]), [5])]) for block in (one, other)]
        given.load(plans[0].integers, plans[0].token_ids)
        finished = False
        try:
            with interrupted(inputs, line):
                given.load(plans[1].integers, plans[1].token_ids)
            finished = True
        except KeyboardInterrupt:
            pass
        given.load(plans[0].integers, plans[0].token_ids, plans[0].last_rows)
        assert_given(given, plans[0])
        for plan in plans:
            plan.rollback()
        if finished:
            break
    assert line > 20


def test_a_drop_that_was_broken_off_leaves_no_view_of_what_is_gone():
    spec = ViewSpec(("a", "b"), "b")
    for line in itertools.count():
        blocks = BlockSet(Pool())
        for name in ("a", "b"):
            blocks.create(name)
        before, finished = blocks.view(spec), False
        try:
            with interrupted(store, line):
                blocks.drop("b")
            finished = True
        except KeyboardInterrupt:
            pass
        if "b" not in blocks:
            blocks.create("b")
            assert blocks.view(spec).write_to is blocks["b"] is not before.write_to
        if finished:
            break
    assert line > 3
