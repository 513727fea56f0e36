"""Blocks and managers: what they refuse, and that nothing changes when they do."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_models import tiny_model

import hogwild
from hogwild.cache import Block, Pool
from hogwild.errors import BlockError, PoolExhausted
from hogwild.shared_cache import CacheBlock, SharedCacheManager


@pytest.fixture(scope="module")
def model():
    return hogwild.enable(tiny_model("qwen3"))


@pytest.fixture
def blocks(model):
    result = [CacheBlock(config=model.config, name=name) for name in ("common", "a", "b")]
    with torch.inference_mode():
        model(input_ids=torch.tensor([[5, 6, 7]]), past_key_values=result[0])
    return result


@pytest.fixture
def manager(blocks):
    common, a, b = blocks
    return SharedCacheManager([[common, b, a], [common, a, b]])


def run(model, kwargs):
    with torch.inference_mode():
        return model(**kwargs).logits


def test_block_interface(model, blocks):
    common, a, _ = blocks
    assert common.get_seq_length() == len(common) == 3 and bool(a)
    a.append_from(common)
    assert a.get_seq_length() == common.get_seq_length() == 3
    a.append_from(common, keep_other=False)
    assert (a.tokens, len(common)) == ([5, 6, 7, 5, 6, 7], 0)
    a.crop(4)
    assert a.tokens == [5, 6, 7, 5]
    a.clear()
    assert a.get_seq_length() == 0


def test_blocks_of_one_config_share_a_pool(model):
    other = tiny_model("qwen3")
    a, b, c = (CacheBlock(config=m.config) for m in (model, model, other))
    assert a.pool is b.pool and a.pool is not c.pool


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([[1, 2, 3]], None, "expected one row for each of 2 views, got 1"),
        ([1, 2], None, r"expected \[2 rows, tokens\], got shape \(2,\)"),
        ([[], []], None, "at least one token a row"),
        ([[1, 2], [3, 4]], [[1, 0], [1, 1]], "attention_mask: row 0 ends in padding; pad on the left"),
        ([[1, 2], [3, 4]], [[1, 1], [0, 0]], "attention_mask: row 1 has no tokens"),
        ([[1, 2, 3], [3, 4, 5]], [[1, 1, 1], [1, 0, 1]], "attention_mask: row 1 has padding between tokens"),
        ([[1, 2], [3, 4]], [[0.0, 0.0], [-1e9, 0.0]], "attention_mask: expected ones and zeros"),
        ([[1, 2], [3, 4]], [[1, 1, 1], [1, 1, 1]], r"attention_mask: expected the shape \(2, 2\)"),
    ],
)
def test_bad_inputs(model, manager, ids, mask, message):
    mask = None if mask is None else torch.tensor(mask)
    ids = torch.tensor(ids, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        manager.get_input_kwargs(ids, mask)
    # and when the model is called without the manager's checks
    cache = manager.get_input_kwargs(torch.tensor([[1], [2]]))["past_key_values"]
    with pytest.raises(ValueError, match=message):
        run(model, {"input_ids": ids, "attention_mask": mask, "past_key_values": cache})
    assert [len(view) for view in cache.views()] == [3, 3]
    assert run(model, manager.get_input_kwargs(torch.tensor([[1], [2]]))).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1], [2]],), r"input_ids: expected a tensor \[2 rows, tokens\], got list"),
        ((torch.ones(2, 1),), "input_ids: expected int64 or int32 token ids, got torch.float32"),
        ((torch.ones(2, 1).long(), [[1], [1]]), "attention_mask: expected a tensor, got list"),
        ((torch.ones(2, 1).long(), None, [None, None]), "write_to: expected blocks, got NoneType"),
        ((torch.ones(2, 1).long(), None, None, [True, False]), r"active_worker_indices: .*not a mask"),
        ((torch.ones(2, 1).long(), None, None, 1), "active_worker_indices: expected a list of integers"),
    ],
)
def test_arguments_of_the_wrong_type(manager, arguments, message):
    with pytest.raises(TypeError, match=message):
        manager.get_input_kwargs(*arguments)


def test_structures_of_the_wrong_type(blocks):
    with pytest.raises(TypeError, match=r"cache_structure\[0\]: expected a list of blocks, got CacheBlock"):
        SharedCacheManager(blocks)
    with pytest.raises(TypeError, match="write_to: expected a list of blocks, got CacheBlock"):
        SharedCacheManager([blocks], write_to=blocks[0])
    for other in (None, [1]):
        with pytest.raises(TypeError, match="other: expected a Block"):
            blocks[1].append_from(other)
    with pytest.raises(TypeError, match="length: expected an integer"):
        blocks[0].crop(2.5)


def test_token_ids_that_the_model_does_not_know(model, blocks):
    for bad in (101, -1):
        with pytest.raises(ValueError, match=f"input_ids: row 0 has token {bad}; the model knows 0 to 100"):
            run(model, {"input_ids": torch.tensor([[5, bad]]), "past_key_values": blocks[1]})
    assert len(blocks[1]) == 0 and len(blocks[0]) == 3


def test_other_ways_to_pass_a_cache(model, blocks, manager):
    """A fork, a plain block and a manager work as past_key_values; another argument is refused."""
    ids = torch.tensor([[8, 9]])
    want = run(model, {"input_ids": ids, "past_key_values": blocks[0].fork()})
    plain = Block(blocks[0].pool)
    plain.append_from(blocks[0])
    torch.testing.assert_close(run(model, {"input_ids": ids, "past_key_values": plain}), want)
    torch.testing.assert_close(
        run(model, {"input_ids": ids, "past_key_values": copy.deepcopy(blocks[0])}), want
    )
    both = run(model, {"input_ids": ids.repeat(2, 1), "past_key_values": manager})
    assert both.shape[0] == 2 and len(blocks[1]) == len(blocks[2]) == 2
    with pytest.raises(TypeError, match="attention_mask: a shared cache goes into past_key_values"):
        run(model, {"input_ids": ids, "attention_mask": blocks[0]})
    with pytest.raises(
        AttributeError, match=r"neither generate\(\) nor torch.compile\(model\) takes a shared"
    ):
        model.generate(ids, past_key_values=blocks[0], max_new_tokens=1)


def test_bad_managers(model, blocks):
    common, a, b = blocks
    foreign = CacheBlock(config=tiny_model("qwen3").config)
    for structure, write_to, message in (
        ([], None, "at least one worker"),
        ([[common, a], []], None, r"cache_structure\[1\]: a view needs at least one block"),
        ([[common, a, a]], None, "once in a view"),
        ([[common, a]], [b], "write_to.*not among the blocks"),
        ([[common, a]], [a, b], "write_to: expected a block for each of 1 workers, got 2"),
        ([[common, foreign]], None, "two pools"),
        ([[common], [foreign]], None, "cache_structure: .* belong to two pools"),
    ):
        with pytest.raises(BlockError, match=message):
            SharedCacheManager(structure, write_to)
    with pytest.raises(TypeError, match="config: expected exactly one of"):
        CacheBlock()
    with pytest.raises(TypeError, match="config: expected a model's configuration, got str"):
        CacheBlock(config="qwen3")


def test_bad_workers_and_targets(manager, blocks):
    common, a, _ = blocks
    ids = torch.tensor([[1], [2]])
    for active in ([], [0, 0], [0, 2], [-1]):
        with pytest.raises(BlockError, match="active_worker_indices: expected different workers from 0 to 1"):
            manager.get_input_kwargs(ids, active_worker_indices=active)
    with pytest.raises(BlockError, match="two workers would write to one block"):
        manager.get_input_kwargs(ids, write_to=[common, common])
    with pytest.raises(BlockError, match="expected a block for each of 2 workers, got 1"):
        manager.get_input_kwargs(ids, write_to=[a])
    with pytest.raises(BlockError, match="two workers would write"):
        SharedCacheManager([[common], [common]]).get_input_kwargs(ids)


def test_position_ids_are_not_the_callers(model, manager):
    kwargs = manager.get_input_kwargs(torch.tensor([[1], [2]]))
    with pytest.raises(ValueError, match="position_ids: leave it out"):
        run(model, kwargs | {"position_ids": torch.zeros(2, 1, dtype=torch.int64)})


def test_a_full_pool(model):
    pool = Pool(page_size=16, max_tokens=32)
    a, b = CacheBlock(pool=pool, name="a"), CacheBlock(pool=pool, name="b")
    run(model, {"input_ids": torch.full((1, 20), 5), "past_key_values": a})
    with pytest.raises(PoolExhausted, match="1 pages of 16 tokens needed, 0 free"):
        run(model, {"input_ids": torch.tensor([[1]]), "past_key_values": b})
    assert (len(a), len(b)) == (20, 0)
    run(model, {"input_ids": torch.full((1, 12), 5), "past_key_values": a})
    assert len(a) == 32
