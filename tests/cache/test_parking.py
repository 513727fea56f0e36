"""Blocks in host memory and back: every bit, every sharing, and no page too many or too few."""

import gc

import pytest
import torch
from filled import ROTARY, contents, poison, same, write
from hypothesis import given
from hypothesis import strategies as st

from hogwild.cache import Block, ForwardPlan, Parking, Pool, Rotary, View, save_blocks
from hogwild.errors import BlockError, PoolExhausted


@pytest.fixture
def pool():
    return Pool(page_size=16, max_tokens=16 * 12)


def test_a_round_trip_keeps_every_bit(pool):
    block, other = Block(pool, "block"), Block(pool, "other")
    write(block, list(range(37)))
    write(other, [1] * 20, seed=1)
    before, others = contents(block), contents(other)
    parking = Parking(pool)
    parked = parking.park([block])
    assert pool.used_pages == 2 and parked.pages_needed == 3 and len(block) == 37
    poison(pool)
    write(other, [2] * 60, seed=2)  # over the pages that were given up
    parking.unpark(parked)
    assert same(contents(block), before)
    assert same([x[:20] for x in contents(other)], others)
    assert pool.used_pages == 8
    write(block, [7] * 5, seed=3)
    assert same([x[:37] for x in contents(block)], before)


def test_what_cannot_be_parked_stays_as_it_is(pool):
    block, other, foreign = Block(pool, "block"), Block(pool, "other"), Block(Pool(page_size=16), "foreign")
    for written in (block, other, foreign):
        write(written, list(range(20)))
    before, parking = contents(block), Parking(pool)
    parked = parking.park([other])
    for blocks, message in (
        ([block, foreign], r"blocks: Block\(foreign, 20 tokens\) is of another pool"),
        ([block, block], "blocks: expected each block once"),
        ([block, other], r"Block\(other, 20 tokens\) is parked"),
    ):
        with pytest.raises(BlockError, match=message):
            parking.park(blocks)
        assert same(contents(block), before) and pool.used_pages == 2
    parking.unpark(parked)
    assert pool.used_pages == 4


def test_a_parked_block_cannot_be_used(pool, tmp_path):
    block, other = Block(pool, "history"), Block(pool)
    write(block, list(range(20)))
    parked = Parking(pool).park([block])
    for use in (
        lambda: block.fork(),
        lambda: other.append_from(block),
        lambda: block.crop(3),
        lambda: block.clear(),
        lambda: block.take_over(other, 0),
        lambda: ForwardPlan([(View([block]), [1])]),
        lambda: save_blocks(tmp_path / "x", {"a": block}),
    ):
        with pytest.raises(BlockError, match=r"Block\(history, 20 tokens\) is parked in host memory"):
            use()
    assert parked.pages_needed == 2 and pool.used_pages == 0


def test_pages_that_are_shared(pool):
    """Within what is parked: once. With a block outside: they stay, and are moved when that one is gone."""
    prefix = Block(pool, "prefix")
    write(prefix, list(range(40)))
    twins = [prefix.fork(f"twin {i}") for i in range(2)]
    for seed, twin in enumerate(twins):
        write(twin, [50 + seed] * 10, seed=seed)
    before = [contents(twin) for twin in twins]
    assert pool.used_pages == 3 + 2 * 2
    parking = Parking(pool)
    first = parking.park([twins[0]])
    second = parking.park([twins[1]])
    assert pool.used_pages == 3 and first.pages_needed == second.pages_needed == 2
    assert parking.squeeze() == 0
    prefix.free()
    assert pool.used_pages == 2  # held by the two that are parked
    assert parking.squeeze() == 2
    assert pool.used_pages == 0 and first.pages_needed == 4
    poison(pool)
    parking.unpark(first)
    assert second.pages_needed == 2  # the shared ones are back
    parking.unpark(second)
    assert pool.used_pages == 6
    assert all(same(contents(twin), values) for twin, values in zip(twins, before, strict=True))
    for twin in twins:
        twin.free()
    assert pool.used_pages == 0


def test_no_room_to_come_back(pool):
    block, other = Block(pool), Block(pool)
    write(block, list(range(100)))
    before = contents(block)
    parking = Parking(pool)
    parked = parking.park([block])
    write(other, [1] * 16 * 6)
    with pytest.raises(PoolExhausted, match="7 pages of 16 tokens needed, 6 free"):
        parking.unpark(parked)
    assert parked.pages_needed == 7 and pool.used_pages == 6
    other.clear()
    parking.unpark(parked)
    assert same(contents(block), before)


def test_blocks_that_are_not_to_come_back(pool):
    prefix = Block(pool)
    write(prefix, list(range(32)))
    twin = prefix.fork()
    write(twin, [1] * 20)
    parking = Parking(pool)
    parked = parking.park([twin])
    parking.forget(parked)
    assert len(twin) == 0 and pool.used_pages == 2
    prefix.free()
    assert pool.used_pages == 0 and parking.squeeze() == 0
    write(twin, [3])


def test_a_pool_that_was_taken_over_in_the_meantime(pool):
    block = Block(pool)
    write(block, list(range(20)))
    parking = Parking(pool)
    parked = parking.park([block])
    other = Rotary(ROTARY.inv_freq * 2)
    for index in range(2):
        pool.layer(index, torch.zeros(1, 2, 8), torch.zeros(1, 2, 6), other)
    with pytest.raises(BlockError, match="layer 0: keys were parked with another rotary embedding"):
        parking.unpark(parked)
    pool.layer(0, torch.zeros(1, 3, 8), torch.zeros(1, 3, 6), other)
    with pytest.raises(BlockError, match="layer 0: the pool was taken over by another model"):
        parking.unpark(parked)
    parking.forget(parked)
    assert pool.used_pages == 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 30)), max_size=40),
    st.integers(0, 9),
)
def test_any_order_of_writing_forking_parking_and_freeing(steps, seed):
    """Beside a pool in which nothing is ever parked."""
    pool, plain = Pool(page_size=16), Pool(page_size=16)
    parking, parked = Parking(pool), {}
    blocks = {name: (Block(pool), Block(plain)) for name in range(3)}
    for number, (action, name, count) in enumerate(steps):
        if name not in blocks:
            continue
        block, twin = blocks[name]
        if action == 0 and name not in parked:
            for b in (block, twin):
                write(b, [count] * count, seed=seed + number)
        elif action == 1 and name not in parked and count % 3 not in blocks:
            blocks[count % 3] = (block.fork(), twin.fork())
        elif action == 2 and name not in parked:
            parked[name] = parking.park([block])
        elif action == 3 and name in parked:
            poison(pool)
            parking.unpark(parked.pop(name))
        elif action == 4:
            if name in parked:
                parking.forget(parked.pop(name))
            else:
                block.free()
            twin.free()
            del blocks[name]
        elif action == 5:
            parking.squeeze()
    poison(pool)
    for entry in parked.values():
        parking.unpark(entry)
    for block, twin in blocks.values():
        assert block.tokens == twin.tokens
        if len(block):
            assert same(contents(block), contents(twin))
    assert pool.used_pages == plain.used_pages
    blocks.clear()
    block = twin = None
    gc.collect()
    assert pool.used_pages == 0
