"""Rows beside guests are computed as if those were not there, to the last bit, by models of every family."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, count_rows, random_ids, tiny_model

import hogwild
from hogwild.cache import Block, ForwardPlan, PlanWithGuests, Pool, View
from hogwild.models import binding_of, packed_forward, why_no_guests
from hogwild.models.guests import rows_apart

COUNTS = [([1], [13]), ([1, 1], [5]), ([1], [1, 2]), ([3, 1], [2]), ([2, 7], [9, 1])]


class Cache:
    """A prompt and rows behind it: `hosts` see each other, a guest sees the host of its index and leaves."""

    def __init__(self, model, generator):
        self.model, self.pool = model, Pool(page_size=16)
        self.prompt, self.a, self.b = (Block(self.pool, name) for name in ("prompt", "a", "b"))
        self.sides = [Block(self.pool, name) for name in ("side 0", "side 1")]
        self.write([(View([self.prompt]), random_ids(37, generator))])

    def write(self, rows, guests=()):
        """One forward; the logits of all rows."""
        plan = PlanWithGuests(rows, guests) if guests else ForwardPlan(rows)
        logits = packed_forward(self.model, plan)
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


def prepared(model):
    hogwild.enable(model)
    return model


def run(model, guests=True, apart=True):
    """Contents and hosts' logits of some forwards, beside guests if there are any; and the guests' logits."""
    generator, strangers = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)
    cache = Cache(model, generator)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_guests_leave_no_trace_and_see_the_others(name, dtype):
    model = prepared(tiny_model(name, dtype))
    assert why_no_guests(model) is None
    alone, beside = run(model, guests=False), run(model)
    assert same(alone[0], beside[0]) and same(alone[1], beside[1])
    assert same(alone[2], beside[2])  # they, too, are computed as in a forward of their own


def counting_model():
    return prepared(count_rows(tiny_model("llama")))


def test_whatever_depends_on_the_number_of_rows_is_told_the_hosts_own():
    model = counting_model()
    alone, beside, joint = run(model, guests=False), run(model), run(model, apart=False)
    assert same(alone[0], beside[0]) and same(alone[1], beside[1])
    assert not same(alone[0], joint[0])


def test_a_model_is_as_before_also_after_a_failure():
    model = prepared(tiny_model("llama"))
    generator = torch.Generator().manual_seed(5)
    cache = Cache(model, generator)
    before = cache.contents()

    def fail(*args):
        raise RuntimeError("out of order")

    hook = model.model.layers[1].mlp.register_forward_pre_hook(fail)
    plan = PlanWithGuests(cache.rows([1, 1], generator), cache.guests([4], generator))
    with pytest.raises(RuntimeError, match="out of order"):
        packed_forward(model, plan)
    plan.rollback()
    hook.remove()
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert same(cache.contents(), before) and len(cache.a) == len(cache.sides[0]) == 0
    wrapped = model.model.norm.forward
    model.model.norm.forward = lambda x: wrapped(x)  # as accelerate does
    mine = vars(model.model.norm)["forward"]
    cache.write(cache.rows([1, 1], generator), cache.guests([4], generator))
    assert vars(model.model.norm)["forward"] is mine


def test_what_a_ctrl_c_leaves_in_a_model_does_nothing():
    """It may come while the model is put back as it was."""
    model = prepared(tiny_model("llama"))
    expected = run(model)
    ids = torch.arange(5, 12)[None]
    plain = model(ids).logits
    before = model.config._attn_implementation
    generator = torch.Generator().manual_seed(5)
    cache = Cache(model, generator)
    plan = PlanWithGuests(cache.rows([1, 1], generator), cache.guests([4], generator))
    left = rows_apart(model, 2, plan.last_rows, lambda: plan.is_open)
    left.__enter__()
    switched_on = binding_of(model)._switched_on()
    switched_on.__enter__()
    plan.rollback()  # and nobody leaves what was entered
    again = run(model)
    assert all(same(one, other) for one, other in zip(expected, again, strict=True))
    assert model.config._attn_implementation == before and model(ids).logits.equal(plain)
    left.__exit__(None, None, None)  # as a collector may do at any time
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]


def test_guests_come_last_among_the_wanted_rows():
    model = prepared(tiny_model("llama"))
    generator = torch.Generator().manual_seed(5)
    cache = Cache(model, generator)
    plan = PlanWithGuests(cache.rows([1, 1], generator), cache.guests([4], generator))
    with pytest.raises(ValueError, match=r"wanted: expected the rows below 2 first, got \[5, 1\]"):
        packed_forward(model, plan, [5, 1])
    assert packed_forward(model, plan, [5]).shape[0] == 1  # of hosts that ask nothing
    plan.rollback()


@pytest.mark.parametrize("rows", [None, [1], [0, 5], []])
@pytest.mark.parametrize("with_guests", [False, True])
def test_a_model_on_several_devices_is_not_given_indices_of_rows(rows, with_guests):
    """They would be on its first device, and the rows on its last."""
    model = prepared(tiny_model("llama"))
    generator = torch.Generator().manual_seed(5)
    cache = Cache(model, generator)
    hosts, guests = cache.rows([1, 2], generator), cache.guests([4], generator)
    plan = PlanWithGuests(hosts, guests) if with_guests else ForwardPlan([*hosts, *guests])
    expected = packed_forward(model, plan, rows)
    given = []
    model.register_forward_pre_hook(lambda _, args, kwargs: given.append(kwargs), with_kwargs=True)
    model.hf_device_map = {"model": 0, "lm_head": 1}
    torch.testing.assert_close(packed_forward(model, plan, rows), expected)
    assert isinstance(given[0]["logits_to_keep"], int)
    plan.rollback()


def test_models_that_cannot_be_cut_say_why():
    model = prepared(tiny_model("llama"))
    # something between the decoder's parts that looks at all rows
    model.model.rotary_emb.register_forward_hook(lambda m, args, out: tuple(x + len(x[0]) for x in out))
    assert why_no_guests(model).endswith("other queries and keys if it is called with more of them")

    model = prepared(tiny_model("llama"))
    model.lm_head.register_forward_hook(lambda m, args, out: out + out.shape[1])
    assert why_no_guests(model) == "rows beside others have other logits"

    class First(torch.nn.Module):
        def forward(self, rows):
            return rows[:1]

    model = tiny_model("llama")
    model.model.first = First()
    model.model.norm.register_forward_hook(lambda m, args, out: out + 0 * model.model.first(out[0, :, 0]))
    assert "takes no tensor [1, tokens, ...]" in why_no_guests(prepared(model))
