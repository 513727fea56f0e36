"""Blocks to a file and back."""

from __future__ import annotations

import json

import pytest
import torch
from filled import DIM, HEADS, LAYERS, VALUE_DIM, contents, poison, same, write
from safetensors import safe_open
from safetensors.torch import save_file

from hogwild.cache import UNKNOWN_TOKEN, Block, Pool, Rotary, load_blocks, save_blocks
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


def test_tokens_whose_ids_nobody_told(tmp_path):
    block, path = Block(Pool(page_size=16), "b"), tmp_path / "blocks.safetensors"
    write(block, [3, UNKNOWN_TOKEN, UNKNOWN_TOKEN])
    save_blocks(path, {"b": block})
    loaded = load_blocks(path, Pool(page_size=16))["b"]
    assert loaded.tokens == block.tokens and same(contents(loaded), contents(block))


def test_names_and_paths_that_are_none(tmp_path):
    block, path = Block(Pool(page_size=16), "b"), tmp_path / "blocks.safetensors"
    with pytest.raises(ValueError, match=r"blocks: expected names of whole characters, got '\\ud800'"):
        save_blocks(path, {"\ud800": block})
    with pytest.raises(TypeError, match=r"path: expected the path of a file, got None"):
        save_blocks(None, {"b": block})
    with pytest.raises(TypeError, match=r"path: expected the path of a file, got None"):
        load_blocks(None, block.pool)
    assert not path.exists()


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
    with pytest.raises(IsADirectoryError, match=r"path: .* is a folder"):
        load_blocks(tmp_path, Pool())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (lambda block: ([block],), r"blocks: expected blocks by name, got \["),
        (lambda block: ({"a": 5},), "blocks: expected blocks by name, got 'a': 5"),
        (lambda block: ({1: block},), "blocks: expected blocks by name, got 1: Block"),
        (lambda block: ({"a": block}, 5), "note: expected text, got 5"),
    ],
)
def test_what_cannot_be_saved(saved, tmp_path, arguments, message):
    _, blocks = saved
    with pytest.raises(TypeError, match=message):
        save_blocks(tmp_path / "new", *arguments(blocks["history"]))
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_loaded(saved):
    path, _ = saved
    with pytest.raises(TypeError, match="pool: expected a Pool, got None"):
        load_blocks(path, None)
    with pytest.raises(
        ValueError, match="device: expected a torch device such as cpu or cuda:0, got 'nowhere'"
    ):
        load_blocks(path, Pool(page_size=16), "nowhere")


DAMAGES = {
    "a layer is missing": (lambda t, h: t.pop("k.1"), "KeyError: 'k.1'"),
    "tokens are missing": (lambda t, h: t.pop("tokens.twin"), "KeyError: 'tokens.twin'"),
    "the header has no layers": (lambda t, h: h.pop("layers"), "KeyError: 'layers'"),
    "the header is no entries": (lambda t, h: h.update(layers=5), "AttributeError"),
    "a page that is not there": (lambda t, h: t["pages.twin"].fill_(4), "a page that is not among 4"),
    "a page before the first": (lambda t, h: t["pages.twin"].fill_(-1), "a page that is not among 4"),
    "a page twice": (lambda t, h: t["pages.twin"].fill_(1), "'twin' has a page twice"),
    "too many tokens": (lambda t, h: t.update({"tokens.twin": torch.arange(90)}), "90 tokens on 3 pages"),
    "too few tokens": (lambda t, h: t.update({"tokens.twin": torch.arange(3)}), "3 tokens on 3 pages"),
    "no token ids": (lambda t, h: t["tokens.twin"].fill_(-2), "'twin' has a token that is no token id"),
    "fewer pages": (lambda t, h: h.update(pages=3), "there are 3 pages of 16 tokens"),
    "another number of heads": (lambda t, h: t.update({"k.1": torch.zeros(4, 1, 16, 8)}), "layer 1 do not fit"),
    "other frequencies": (lambda t, h: t.update({"inv_freq.0": torch.ones(9)}), "embedding of layer 0 does not"),
    "no frequencies": (lambda t, h: t.update({"inv_freq.0": torch.ones(2, 2)}), "ValueError: inv_freq"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_changes_nothing(saved, tmp_path, damage):
    path, _ = saved
    change, message = DAMAGES[damage]
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    header = json.loads(metadata["header"])
    change(tensors, header)
    wrong = tmp_path / "wrong.safetensors"
    save_file(tensors, wrong, metadata={**metadata, "header": json.dumps(header)})
    pool = Pool(page_size=16)
    with pytest.raises(BlockError, match=rf"path: .*wrong.safetensors is damaged.*{message}"):
        load_blocks(wrong, pool)
    assert not pool.layers and pool.used_pages == 0
