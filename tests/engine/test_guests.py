"""Rows beside guests are computed as if those were not there, to the last bit, by models of every family."""

from __future__ import annotations

import pytest
import torch

import hogwild
from hogwild.cache import Block, ForwardPlan, PlanWithGuests, Pool, View
from hogwild.engine.graphs import GraphRunner
from hogwild.engine.runner import EagerRunner, run_plan
from models.tiny_models import FAMILIES, count_rows, random_ids, tiny_model

COUNTS = [([1], [13]), ([1, 1], [5]), ([1], [1, 2]), ([3, 1], [2]), ([2, 7], [9, 1])]


class Cache:
    """A prompt and rows behind it: `hosts` see each other, a guest sees the host of its index and leaves."""

    def __init__(self, runner, generator):
        self.runner, self.pool = runner, Pool(page_size=16, max_tokens=1024)
        self.prompt, self.a, self.b = (Block(self.pool, name) for name in ("prompt", "a", "b"))
        self.sides = [Block(self.pool, name) for name in ("side 0", "side 1")]
        self.write([(View([self.prompt]), random_ids(37, generator))])

    def write(self, rows, guests=()):
        """One forward; the logits of all rows."""
        plan = PlanWithGuests(rows, guests) if guests else ForwardPlan(rows)
        logits = run_plan(self.runner, plan, plan.last_rows).clone()
        plan.commit()
        return logits

    def rows(self, counts, generator):
        views = [View([self.prompt, self.b, self.a]), View([self.prompt, self.a, self.b])]
        return [(views[i], random_ids(n, generator)) for i, n in enumerate(counts)]

    def guests(self, counts, generator):
        views = [View([self.prompt, self.b, self.a, self.sides[0]]), View([self.prompt, self.sides[1]])]
        return [(views[i], random_ids(n, generator)) for i, n in enumerate(counts)]

    def contents(self):
        """Keys and values of the rows that stay, per layer and block."""
        result = []
        for block in (self.prompt, self.a, self.b):
            slots = block.slots(0, len(block))
            pages, places = slots // self.pool.page_size, slots % self.pool.page_size
            for _, layer in sorted(self.pool.layers.items()):
                result += [cache[pages, :, places].clone() for cache in (layer.k, layer.v)]
        return result


def run(runner, guests=True, apart=True):
    """Contents and hosts' logits of some forwards, beside guests if there are any; and the guests' logits."""
    generator, strangers = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)
    cache = Cache(runner, generator)
    hosts_logits, guests_logits = [], []
    for hosts, visitors in COUNTS:
        rows, beside = cache.rows(hosts, generator), cache.guests(visitors, strangers)
        if not guests:
            hosts_logits.append(cache.write(rows))
            guests_logits.append(cache.write(beside))  # afterwards they see the same
        else:
            logits = cache.write(rows, beside) if apart else cache.write(rows + beside)
            hosts_logits.append(logits[: len(rows)])
            guests_logits.append(logits[len(rows) :])
        for side in cache.sides:
            side.clear()
    return cache.contents(), hosts_logits, guests_logits


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("runner", [EagerRunner, GraphRunner])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_guests_leave_no_trace_and_see_the_others(name, dtype, runner):
    made = runner(hogwild.enable(tiny_model(name, dtype)))
    alone, beside = run(made, guests=False), run(made)
    assert same(alone[0], beside[0]) and same(alone[1], beside[1])
    assert same(alone[2], beside[2])  # they, too, are computed as in a forward of their own


@pytest.mark.cuda
@pytest.mark.usefixtures("quick_collections")
@pytest.mark.parametrize(
    ("name", "dtype", "compile"),
    [
        ("llama", torch.bfloat16, "layers"),
        ("llama", torch.float32, "none"),
        ("qwen3_moe", torch.bfloat16, "none"),
        ("gemma3_text", torch.float16, "none"),
        ("gpt_oss", torch.bfloat16, "none"),
    ],
)
def test_in_cuda_graphs(name, dtype, compile):
    torch._dynamo.reset()
    model = tiny_model(name, dtype, head_dim=64).to("cuda")
    runner = GraphRunner(hogwild.enable(model), compile=compile)
    alone, beside = run(runner, guests=False), run(runner)
    assert all(same(one, other) for one, other in zip(alone, beside, strict=True))
    if name != "qwen3_moe":  # whose experts may be called by a loop that asks how many tokens each has
        assert runner.why_eager is None and all(forward.graph for forward in runner.forwards)
    runner.close()


def test_whatever_depends_on_the_number_of_rows_is_told_the_hosts_own():
    runner = EagerRunner(hogwild.enable(count_rows(tiny_model("llama"))))
    alone, beside, joint = run(runner, guests=False), run(runner), run(runner, apart=False)
    assert same(alone[0], beside[0]) and same(alone[1], beside[1])
    assert not same(alone[0], joint[0])


def test_parts_that_ask_nothing_and_guests_that_fail():
    model = hogwild.enable(tiny_model("llama"))
    generator = torch.Generator().manual_seed(5)
    cache = Cache(EagerRunner(model), generator)
    before = cache.contents()
    plan = PlanWithGuests(cache.rows([1, 1], generator), cache.guests([4], generator))
    both = run_plan(cache.runner, plan, [0, 5])
    for rows in ([0], [5], [0, 5]):
        assert same(run_plan(cache.runner, plan, rows), both[[[0, 5].index(row) for row in rows]])
    calls = []

    def fail(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("out of order")

    hook = model.model.layers[1].mlp.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of order"):
        run_plan(cache.runner, plan, [0, 5])
    plan.rollback()
    hook.remove()
    assert same(cache.contents(), before) and len(cache.a) == len(cache.sides[0]) == 0
    assert cache.pool.reserved_pages == 0
