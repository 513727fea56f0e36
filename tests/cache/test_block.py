"""Blocks: append, move, crop, fork, and what happens when the pool is full."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from filled import ROTARY, contents, poison, same, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hogwild.cache import Block, Pool
from hogwild.errors import BlockError, PoolExhausted


def rotated(k: torch.Tensor, by: int) -> torch.Tensor:
    angle = by * ROTARY.inv_freq.double()
    a, b = k.double().chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1).float()


@pytest.mark.parametrize("keep", [True, False])
def test_append_from_rotates_keys_and_copies_values(keep):
    pool = Pool(page_size=16)
    history, step = Block(pool, "history"), Block(pool, "step")
    write(history, list(range(20)))
    write(step, [7, 8, 9], seed=1)
    before, moved = contents(history), contents(step)
    history.append_from(step, keep_other=keep)
    assert history.tokens == [*range(20), 7, 8, 9]
    assert step.tokens == ([7, 8, 9] if keep else [])
    for index, (new, old, piece) in enumerate(zip(contents(history), before, moved, strict=True)):
        assert torch.equal(new[:20], old)
        if index % 2:
            assert torch.equal(new[20:], piece)
        else:
            torch.testing.assert_close(new[20:], rotated(piece, 20), rtol=1e-5, atol=1e-5)
    if keep:
        assert same(contents(step), moved)


def test_append_from_to_an_empty_block_copies_bits():
    pool = Pool(page_size=16)
    a, b = Block(pool), Block(pool)
    write(a, list(range(18)))
    b.append_from(a)
    assert same(contents(a), contents(b))


def test_append_from_wrong_blocks():
    pool = Pool()
    a = Block(pool, "a")
    write(a, [1, 2])
    with pytest.raises(BlockError, match="cannot be appended to itself"):
        a.append_from(a)
    with pytest.raises(BlockError, match="two pools"):
        a.append_from(Block(Pool()))
    assert a.tokens == [1, 2]


def test_crop_and_clear_free_pages():
    pool = Pool(page_size=16)
    block = Block(pool)
    write(block, list(range(40)))
    kept = [t[:17].clone() for t in contents(block)]
    block.crop(17)
    assert (pool.used_pages, block.tokens) == (2, list(range(17)))
    assert same(contents(block), kept)
    for length in (-1, 18):
        with pytest.raises(ValueError, match="length: expected 0 to 17"):
            block.crop(length)
    block.clear()
    assert (pool.used_pages, len(block)) == (0, 0)


def test_collected_blocks_free_their_pages():
    pool = Pool(page_size=16)
    block = Block(pool)
    write(block, list(range(40)))
    twin = block.fork()
    assert pool.used_pages == 3
    del block
    gc.collect()
    assert pool.used_pages == 3
    del twin
    gc.collect()
    assert pool.used_pages == 0


@pytest.mark.parametrize("length", [16, 21])
def test_fork_copies_a_page_only_when_it_is_written(length):
    pool = Pool(page_size=16)
    block = Block(pool, "a")
    write(block, list(range(length)))
    twin = block.fork("b")
    assert pool.used_pages == 2 - (length == 16)
    write(block, [100], seed=2)
    write(twin, [200, 201], seed=3)
    assert pool.used_pages == 3
    assert block.tokens == [*range(length), 100] and twin.tokens == [*range(length), 200, 201]
    for a, b in zip(contents(block), contents(twin), strict=True):
        assert torch.equal(a[:length], b[:length])
        assert not torch.equal(a[length], b[length])


def test_take_over_of_what_is_no_length():
    pool = Pool(page_size=16)
    block, other = Block(pool, "a"), Block(pool, "b")
    write(other, list(range(20)))
    for length, error in (("3", TypeError), (3.0, TypeError), (21, ValueError), (-1, ValueError)):
        with pytest.raises(error, match="length: expected"):
            block.take_over(other, length)
    assert len(block) == 0 and pool.used_pages == 2


def test_copies_are_forks():
    pool = Pool(page_size=16)
    block = Block(pool, "a")
    write(block, list(range(20)))
    twins = [copy.copy(block), copy.deepcopy(block)]
    assert pool.used_pages == 2
    before = contents(block)
    del block
    gc.collect()
    write(Block(pool), list(range(40)), seed=9)
    assert all(same(contents(twin), before) and twin.pool is pool for twin in twins)


def test_a_full_pool_changes_nothing():
    pool = Pool(page_size=16, max_tokens=64)
    a, b = Block(pool, "a"), Block(pool, "b")
    write(a, list(range(30)))
    write(b, list(range(20)))
    before = contents(a), contents(b)
    with pytest.raises(PoolExhausted) as caught:
        a.append_from(b, keep_other=False)
    assert (caught.value.needed, caught.value.free) == (2, 0)
    assert "2 pages of 16 tokens needed, 0 free" in str(caught.value)
    assert (len(a), len(b), pool.free_pages) == (30, 20, 0)
    assert same(contents(a), before[0]) and same(contents(b), before[1])
    b.crop(10)
    a.append_from(b, keep_other=False)
    assert len(a) == 40


def test_a_pool_without_limit_grows_and_keeps_what_it_holds():
    pool = Pool(page_size=16)
    block = Block(pool)
    write(block, list(range(50)))
    before, pages = contents(block), pool.num_pages
    more = Block(pool)
    write(more, list(range(16 * pages)), seed=4)
    assert pool.num_pages > pages
    assert same(contents(block), before)


@pytest.mark.parametrize("arguments", [{"page_size": 24}, {"page_size": 0}, {"max_tokens": 0}])
def test_pool_rejects(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Pool(**arguments)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("wacfdrm"), st.integers(0, 3), st.integers(1, 40)), max_size=30))
def test_any_sequence_of_operations_keeps_tokens_values_and_pages(operations):
    """Blocks against plain lists: tokens and values stay in order, no page leaks, none is shared by mistake."""
    pool = Pool(page_size=16, max_tokens=40 * 16)
    blocks = [Block(pool, str(i)) for i in range(4)]
    model: list[list[tuple[int, torch.Tensor]]] = [[] for _ in blocks]
    for count, (kind, index, number) in enumerate(operations):
        block, other = blocks[index], (index + number) % 4
        try:
            if kind == "w":
                write(block, list(range(number)), seed=count)
                values = contents(block)[1][-number:].clone()
                model[index] += list(zip(range(number), values, strict=True))
            elif kind in "am" and other != index:
                block.append_from(blocks[other], keep_other=kind == "a")
                model[index] += model[other]
                if kind == "m":
                    model[other] = []
            elif kind == "c":
                block.crop(min(number, len(block)))
                model[index] = model[index][:number]
            elif kind == "f" and other != index:
                blocks[other], model[other] = block.fork(), list(model[index])
            elif kind == "d":
                block.clear()
                model[index] = []
            elif kind == "r":
                poison(pool)
        except PoolExhausted:
            pass
        for live, expected in zip(blocks, model, strict=True):
            assert live.tokens == [token for token, _ in expected]
            if expected:
                got = contents(live)
                assert torch.equal(got[1], torch.stack([value for _, value in expected]))
                assert not torch.stack([t.isnan().any() for t in got]).any()
        held = {page for live in blocks for page in live.pages}
        assert pool.used_pages == len(held)


def test_an_abandoned_fork_shares_nothing():
    pool = Pool(page_size=16, max_tokens=32)
    block, other = Block(pool), Block(pool)
    for each in (block, other):
        write(each, [1, 2])
    fork = block.fork()
    assert pool.is_shared(block.pages[0])
    del fork
    assert not pool.is_shared(block.pages[0])
    block.append_from(other)  # takes no page for a copy
    assert len(block) == 4 and pool.free_pages == 0
