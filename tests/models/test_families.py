"""Every supported family: blocks, views and workers against plain transformers, fp32."""

from __future__ import annotations

import pytest
import torch
from explicit import explicit_logits
from tiny_models import FAMILIES, random_ids, tiny_model

import hogwild
from hogwild.cache import Block, ForwardPlan, Pool, View, make_layout
from hogwild.models import packed_forward
from hogwild.shared_cache import CacheBlock, SharedCacheManager

TOLERANCE = 1e-4  # of the largest logit, or absolute where that is below one


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request):
    return hogwild.enable(tiny_model(request.param))


def assert_same(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape and got.isfinite().all()
    error = (got - want).abs().max().item()
    assert error <= TOLERANCE * max(1.0, want.abs().max().item()), error


def plain_logits(model, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def feed(model, rows: list[tuple[View, list[int]]]) -> tuple[ForwardPlan, torch.Tensor]:
    plan = ForwardPlan(rows)
    logits = packed_forward(model, plan, range(plan.num_tokens))
    plan.commit()
    return plan, logits


def check_rows(model, rows: list[tuple[View, list[int]]]) -> None:
    """Run one forward and compare each row with a plain forward over its explicitly rotated view."""
    plan, logits = feed(model, rows)
    begin = 0
    for row, (_, tokens) in enumerate(rows):
        assert_same(logits[begin : begin + len(tokens)], explicit_logits(model, plan, row, tokens))
        begin += len(tokens)


@pytest.mark.parametrize("seed", range(3))
def test_text_cut_into_blocks_anyhow(model, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = random_ids(60, generator)
    pool = Pool(page_size=16)
    blocks, got, at = [Block(pool)], [], 0
    while at < len(tokens):
        if torch.rand((), generator=generator) < 0.4:
            blocks.append(Block(pool))  # sometimes leaving an empty one behind
        count = int(torch.randint(1, 12, (), generator=generator))
        got.append(feed(model, [(View(blocks), tokens[at : at + count])])[1])
        at += count
    assert_same(torch.cat(got), plain_logits(model, tokens))


@pytest.mark.parametrize("window", [7, None])
def test_a_window_that_is_in_the_mask_alone(window):
    """phimoe tells neither its attention function nor its configuration's layer_types of it."""
    settings = {"sliding_window": window, "num_local_experts": 4, "num_experts_per_tok": 2}
    model = hogwild.enable(tiny_model("phimoe", **settings))
    tokens = random_ids(60, torch.Generator().manual_seed(5))
    pool = Pool(page_size=16)
    first, second = Block(pool), Block(pool)
    got = [feed(model, [(View([first]), tokens[:25])])[1]]
    got.append(feed(model, [(View([first, second]), tokens[25:])])[1])
    assert_same(torch.cat(got), plain_logits(model, tokens))


def test_keys_that_are_rotated_backwards():
    """nanochat's pairs turn the other way."""
    model = hogwild.enable(tiny_model("nanochat"))
    tokens = random_ids(60, torch.Generator().manual_seed(6))
    pool = Pool(page_size=16)
    first, second, third = (Block(pool) for _ in range(3))
    got = [feed(model, [(View([first]), tokens[:25])])[1]]
    got.append(feed(model, [(View([first, second]), tokens[25:40])])[1])
    first.append_from(second, keep_other=False)
    got.append(feed(model, [(View([first, third]), tokens[40:])])[1])
    assert_same(torch.cat(got), plain_logits(model, tokens))


def test_left_padded_rows_equal_rows_alone(model):
    generator = torch.Generator().manual_seed(4)
    prompt = random_ids(9, generator)
    parts = [random_ids(n, generator) for n in (3, 8, 1)]
    common = CacheBlock(config=model.config)
    own = [CacheBlock(config=model.config) for _ in parts]
    with torch.inference_mode():
        model(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, 9), past_key_values=common)
        manager = SharedCacheManager([[common, block] for block in own])
        width = max(map(len, parts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in parts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in parts])
        logits = model(**manager.get_input_kwargs(ids, mask)).logits
    for row, part in enumerate(parts):
        want = plain_logits(model, prompt + part)[len(prompt) :]
        assert_same(logits[row, width - len(part) :], want)
        assert own[row].tokens == part


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_workers_equal_plain_forwards_over_rotated_keys(model, workers):
    generator = torch.Generator().manual_seed(workers)
    layout = make_layout("combined", [f"w{i}" for i in range(workers)])
    pool = Pool(page_size=16)
    blocks = {name: Block(pool, name) for name in layout.block_names}

    def view(spec):
        return View([blocks[name] for name in spec.blocks], blocks[spec.write_to])

    views = [view(layout.view(worker)) for worker in layout.workers]
    check_rows(model, [(View([blocks[layout.history]]), random_ids(13, generator))])
    for section in layout.sections:
        check_rows(model, [(view(section), random_ids(3, generator))])
    check_rows(model, [(v, random_ids(2 + i, generator)) for i, v in enumerate(views)])  # ragged headers
    for turn in range(4):
        counts = [1] * workers
        if (
            turn == 2
        ):  # a worker finishes its step: it moves to the history, and the next header is fed with it
            step = blocks[layout.step_block("w1")]
            blocks[layout.history].append_from(step, keep_other=False)
            assert len(step) == 0
            counts[1] = 4
        check_rows(model, [(v, random_ids(n, generator)) for v, n in zip(views, counts, strict=True)])


def test_write_block_in_the_middle_of_a_view(model):
    generator = torch.Generator().manual_seed(9)
    pool = Pool(page_size=16)
    first, middle, last, other = (Block(pool, name) for name in ("first", "middle", "last", "other"))
    check_rows(model, [(View([first]), random_ids(6, generator))])
    check_rows(model, [(View([first, last]), random_ids(5, generator))])
    views = [View([first, middle, last], middle), View([first, last, middle, other], other)]
    for counts in ((1, 1), (3, 2), (1, 4)):
        check_rows(model, [(v, random_ids(n, generator)) for v, n in zip(views, counts, strict=True)])


def test_after_crop_fork_and_append_from(model):
    generator = torch.Generator().manual_seed(10)
    pool = Pool(page_size=16)
    history, step = Block(pool, "history"), Block(pool, "step")
    check_rows(model, [(View([history]), random_ids(20, generator))])
    check_rows(model, [(View([history, step]), random_ids(9, generator))])
    history.crop(17)
    twin = history.fork("twin")
    twin.append_from(step)
    history.append_from(step.fork(), keep_other=False)
    step.crop(4)
    rows = [(View([history, step]), random_ids(3, generator)), (View([twin]), random_ids(2, generator))]
    check_rows(model, rows)
    check_rows(model, [(View([twin, history]), random_ids(2, generator))])


def test_moving_a_step_equals_writing_it_there(model):
    """append_from gives the keys that a forward would have written, in the first layer, whose input does not differ."""
    generator = torch.Generator().manual_seed(11)
    pool = Pool(page_size=16)
    prompt, tokens = random_ids(10, generator), random_ids(7, generator)
    history, step, whole = Block(pool), Block(pool), Block(pool)
    feed(model, [(View([history]), prompt)])
    feed(model, [(View([history, step]), tokens)])
    feed(model, [(View([whole]), prompt + tokens)])
    history.append_from(step, keep_other=False)
    layer, size = pool.layers[0], pool.page_size
    moved, written = history.slots(10, 17), whole.slots(10, 17)
    for cache, tolerance in ((layer.k, 2e-5), (layer.v, 1e-5)):
        a, b = (cache[slots // size, :, slots % size] for slots in (moved, written))
        assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("rows", [None, [1], [0, 5], []])
def test_a_model_on_several_devices_is_not_given_indices_of_rows(rows):
    """They would be on its first device, and the rows on its last."""
    model = tiny_model("llama")
    hogwild.enable(model)
    pool, generator = Pool(page_size=16), torch.Generator().manual_seed(5)
    plan = ForwardPlan([(View([Block(pool, str(n))]), random_ids(n, generator)) for n in (1, 2, 4)])
    expected = packed_forward(model, plan, rows)
    given = []
    model.register_forward_pre_hook(lambda _, args, kwargs: given.append(kwargs), with_kwargs=True)
    model.hf_device_map = {"model": 0, "lm_head": 1}
    torch.testing.assert_close(packed_forward(model, plan, rows), expected)
    assert isinstance(given[0]["logits_to_keep"], int)
    plan.rollback()
