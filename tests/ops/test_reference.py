"""The references against the definition: keys re-rotated to where they stand in a view, one token at a time."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from op_samples import SHAPES, AttentionCase, attention_case
from torch import Tensor

from hogwild_cuda import reference

# Any position of the query will do: only differences count.
QUERY_POSITION = 5000


def by_definition(case: AttentionCase, token: int) -> tuple[Tensor, Tensor]:
    """out [H, Dv] and lse [H] of one token, in fp64."""
    q, k_cache, v_cache, table, lens, _, group_blocks, query_pos, rotary_pos, own_block, _ = case.args
    kwargs = case.kwargs
    num_heads, num_kv_heads = q.shape[1], k_cache.shape[1]

    def rotated(x: Tensor, by: Tensor) -> Tensor:
        if case.inv_freq is None:
            return x
        angle = by[:, None, None].double() * case.inv_freq.double()
        return reference.rotate(x, angle.cos(), angle.sin(), kwargs["interleaved"], kwargs["rotary_start"])

    # The model rotated it to rotary_pos; take that back, and put it where it stands in the view.
    query = rotated(q[token].double()[None], QUERY_POSITION - rotary_pos[token : token + 1])[0]
    keys, values = [], []
    group = case.group_of_token[token]
    for column, block in enumerate(range(group_blocks[group], group_blocks[group + 1]) if group >= 0 else ()):
        position = int(query_pos[token, column])
        for j in range(int(lens[block])):
            visible = j <= position
            if kwargs["window"]:
                visible &= position - j < kwargs["window"]
            if own_block[token] == column:
                visible &= j <= int(rotary_pos[token])
            if visible:
                page, offset = int(table[block, j // k_cache.shape[2]]), j % k_cache.shape[2]
                stands_at = torch.tensor([QUERY_POSITION - position])  # the block's first token
                keys.append(rotated(k_cache[page, :, offset].double()[None], stands_at)[0])
                values.append(v_cache[page, :, offset].double())
    ratio = num_heads // num_kv_heads
    out, lse = [], []
    for head in range(num_heads):
        scores = [float(query[head] @ key[head // ratio]) * kwargs["scale"] for key in keys]
        scores = torch.tensor(scores, dtype=torch.float64)
        if kwargs["softcap"]:
            scores = kwargs["softcap"] * torch.tanh(scores / kwargs["softcap"])
        joined = scores
        if kwargs["sinks"] is not None:
            joined = torch.cat([scores, kwargs["sinks"][head : head + 1].double()])
        lse.append(torch.logsumexp(joined, 0) if len(joined) else torch.tensor(-torch.inf))
        weights = torch.softmax(joined, 0)[: len(scores)]
        zero = torch.zeros(v_cache.shape[3], dtype=torch.float64)
        out.append(sum((w * value[head // ratio] for w, value in zip(weights, values, strict=True)), zero))
    return torch.stack(out), torch.stack(lse).double()


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "split"])
def test_attention_is_softmax_over_rerotated_keys(name: str) -> None:
    for seed in range(3):
        case = attention_case(dataclasses.replace(SHAPES[name], max_block_tokens=12, seed=seed))
        out, lse = _exact_rotation(case).reference()
        for token in range(out.shape[0]):
            expected_out, expected_lse = by_definition(case, token)
            torch.testing.assert_close(out[token], expected_out, atol=1e-10, rtol=0)
            torch.testing.assert_close(lse[token], expected_lse, atol=1e-10, rtol=0)


def test_attention_in_chunks_of_tokens_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = attention_case(SHAPES["window"])
    whole = case.reference()
    monkeypatch.setattr(reference, "_TOKEN_CHUNK", 3)
    for chunked, expected in zip(case.reference(), whole, strict=True):
        torch.testing.assert_close(chunked, expected, atol=1e-12, rtol=0)


def _exact_rotation(case: AttentionCase) -> AttentionCase:
    if case.inv_freq is None:
        return case
    table = reference.rotation_table(case.args[7], case.args[8], case.inv_freq.double())
    return dataclasses.replace(case, args=(*case.args[:-1], table))
