"""Blocks to a file and back."""

from __future__ import annotations

import pytest
import torch
from filled import DIM, HEADS, LAYERS, VALUE_DIM, contents, poison, same, write

from hogwild.cache import Block, Pool, Rotary, load_blocks, save_blocks
from hogwild.errors import BlockError, PoolExhausted


@pytest.fixture
def saved(tmp_path):
    pool = Pool(page_size=16)
    history, empty = Block(pool, "history"), Block(pool, "empty")
    write(history, list(range(37)))
    twin = history.fork("twin")
    write(twin, [90, 91], seed=1)
    poison(pool)
    path = tmp_path / "blocks.safetensors"
    blocks = {"history": history, "twin": twin, "empty": empty}
    save_blocks(path, blocks)
    return path, blocks


def test_round_trip(saved):
    path, blocks = saved
    pool = Pool(page_size=16)
    loaded = load_blocks(path, pool)
    assert list(loaded) == list(blocks)
    for name, block in blocks.items():
        assert loaded[name].tokens == block.tokens
        if len(block):
            assert same(contents(loaded[name]), contents(block))
    # two full pages are shared, as they were
    assert pool.used_pages == blocks["history"].pool.used_pages == 4
    # and what was loaded can be moved: the rotary facts came along
    loaded["empty"].append_from(loaded["history"])
    loaded["empty"].append_from(loaded["history"])
    blocks["empty"].append_from(blocks["history"])
    blocks["empty"].append_from(blocks["history"])
    assert same(contents(loaded["empty"]), contents(blocks["empty"]))


def test_loading_beside_what_is_there(saved):
    path, blocks = saved
    pool = blocks["history"].pool
    again = load_blocks(path, pool)
    write(again["history"], [5], seed=2)
    assert len(blocks["history"]) == 37
    for old, new in zip(contents(blocks["history"]), contents(again["history"]), strict=True):
        assert torch.equal(old, new[:37])


def test_the_file_holds_no_stale_memory(saved):
    path, _ = saved
    from safetensors.torch import load_file

    tensors = load_file(path)
    assert len([name for name in tensors if name.startswith("k.")]) == LAYERS
    assert not any(t.isnan().any() for t in tensors.values() if t.is_floating_point())


def test_errors_leave_the_pool_as_it_was(saved, tmp_path):
    path, blocks = saved
    with pytest.raises(BlockError, match="pages of 16 tokens, the pool of 32"):
        load_blocks(path, Pool(page_size=32))
    small = Pool(page_size=16, max_tokens=48)
    with pytest.raises(PoolExhausted):
        load_blocks(path, small)
    assert small.free_pages == 3
    other = Pool(page_size=16)
    k = torch.zeros(1, 3, 8)
    for index in range(LAYERS):
        other.layer(index, k, k)
    with pytest.raises(BlockError, match="layer 0 holds k pages"):
        load_blocks(path, other)
    turned = Pool(page_size=16)
    for index in range(LAYERS):
        turned.layer(
            index, torch.zeros(1, HEADS, DIM), torch.zeros(1, HEADS, VALUE_DIM), Rotary(torch.ones(4))
        )
    with pytest.raises(BlockError, match="rotary embedding of layer 0 differs"):
        load_blocks(path, turned)
    assert other.used_pages == 0
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not a file of tensors")
    with pytest.raises(BlockError, match="not a file of saved blocks"):
        load_blocks(wrong, Pool(page_size=16))
    with pytest.raises(BlockError, match="blocks of one pool"):
        save_blocks(wrong, {"a": blocks["history"], "b": Block(Pool())})
    with pytest.raises(BlockError, match="blocks of one pool"):
        save_blocks(wrong, {})
    with pytest.raises(OSError, match=r"path: cannot write .*nowhere"):
        save_blocks(tmp_path / "nowhere" / "blocks.safetensors", blocks)
    with pytest.raises(FileNotFoundError):
        load_blocks(tmp_path / "nothing", Pool())
