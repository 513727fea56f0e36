"""Long rows by flash attention: what the op gives, for rows of several sessions beside decoding ones."""

from __future__ import annotations

import pytest
import torch
from tiny_models import random_ids, tiny_model

import hogwild
from hogwild.cache import Block, ForwardPlan, Pool, View
from hogwild.models import binding_of, cache_attend, long_rows, packed_forward

# rotated in halves, partially, in neighbouring pairs, not at all in some layers; more query heads than kv heads
FAMILIES = ["llama", "qwen3", "phi3", "glm4", "smollm3"]


def forwards(pool):
    """Plans with long rows: a prompt, a longer one behind it, beside decoding rows and in two sessions."""
    generator = torch.Generator().manual_seed(9)
    common, a, b, other, c = (Block(pool, name) for name in ("common", "a", "b", "other", "c"))

    def ids(count):
        return random_ids(count, generator)

    yield [(View([common]), ids(70))]
    yield [(View([common, b, a]), ids(3)), (View([common, a, b]), ids(40))]
    yield [(View([common, b, a]), ids(1)), (View([common, a, b]), ids(30)), (View([other]), ids(50))]
    yield [(View([other, c]), ids(33)), (View([common, b, a]), ids(30)), (View([common, a, b]), ids(30))]
    yield [(View([b, common, a], common), ids(35)), (View([b]), ids(1))]  # behind it, a block in full view
    yield [(View([common, a]), ids(25))]


def logits_of(model, device="cpu"):
    pool, result, rows = Pool(page_size=16), [], []
    for forward in forwards(pool):
        plan = ForwardPlan(forward)
        rows.append([(row.begin, row.end, len(row.parts)) for row in long_rows.find_long_rows(plan)])
        result.append(packed_forward(model, plan, range(plan.num_tokens)).float().cpu())
        plan.commit()
    return result, rows


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_op(family, monkeypatch):
    model = hogwild.enable(tiny_model(family))
    expected, rows = logits_of(model)
    assert not any(rows)  # too short by default
    monkeypatch.setattr(long_rows.find_long_rows, "__defaults__", (25,))
    served = []

    def everywhere(call):
        served.append(call.layer)
        return True

    monkeypatch.setattr(cache_attend, "serves", everywhere)
    got, rows = logits_of(model)
    for one, want in zip(got, expected, strict=True):
        torch.testing.assert_close(one, want, rtol=1e-3, atol=1e-3)
    assert len(served) == 5 * len(binding_of(model).rotary)
    # what they see besides themselves; in the fifth the block behind is not in full view of the first tokens
    assert rows == [
        [(0, 70, 0)],
        [(3, 43, 2)],
        [(1, 31, 3), (31, 81, 0)],
        [(0, 33, 1), (33, 63, 3), (63, 93, 3)],
        [],
        [(0, 25, 2)],
    ]


@pytest.mark.cuda
@pytest.mark.parametrize("family, head_dim", [("llama", 64), ("qwen3", 128), ("glm4", 128)])
def test_equals_the_op_on_cuda(family, head_dim, monkeypatch):
    model = hogwild.enable(tiny_model(family, dtype=torch.bfloat16, head_dim=head_dim).to("cuda"))
    expected, _ = logits_of(model)
    exact, _ = logits_of(hogwild.enable(tiny_model(family, head_dim=head_dim)))
    monkeypatch.setattr(long_rows.find_long_rows, "__defaults__", (25,))
    got, rows = logits_of(model)
    assert any(rows)
    for one, other, want in zip(got, expected, exact, strict=True):
        assert (one - want).abs().max() <= 2 * (other - want).abs().max()


def test_layers_that_it_does_not_know():
    q = torch.zeros(3, 4, 64, dtype=torch.bfloat16)
    call = cache_attend.AttentionCall(0, q, q, q, 1.0, 0, 0.0, None)
    assert not long_rows.serves(call)  # on the CPU the op is as good
