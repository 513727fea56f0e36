"""hogwild::attention against the fp64 reference, and the properties that its contract promises."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from accuracy import assert_accurate, assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_samples import DTYPES, HEAD_DIMS, KERNEL_SHAPES, kernel_shapes
from op_samples import SHAPES, AttentionCase, Shape, attention_case, inv_freq, shapes
from torch import Tensor

from hogwild_cuda import reference


class TestAgainstReference:
    @settings(max_examples=1500)
    @given(shape=shapes(torch.float32))
    def test_fp32(self, device: str, shape: Shape) -> None:
        assert_accurate(attention_case(shape).to(device))

    @settings(max_examples=700)
    @given(shape=shapes(torch.bfloat16, torch.float16))
    def test_low_precision(self, device: str, shape: Shape) -> None:
        assert_accurate(attention_case(shape).to(device))

    @settings(max_examples=30)
    @given(data=st.data(), dtype=st.sampled_from(DTYPES), head_dim=st.sampled_from(HEAD_DIMS))
    def test_small_calls_of_the_cuda_kernel(
        self, data: st.DataObject, dtype: torch.dtype, head_dim: int
    ) -> None:
        """On the CPU; tests/ops/test_attention_kernel.py has large ones too, on CUDA."""
        shape = data.draw(kernel_shapes(head_dim, dtype))
        small = {"kv_heads": min(shape.kv_heads, 2), "groups": 1, "max_new_tokens": 1, "ratio": 2}
        small["max_block_tokens"] = min(shape.max_block_tokens, 100)
        assert_accurate(attention_case(dataclasses.replace(shape, **small)))

    @pytest.mark.parametrize("name", SHAPES | KERNEL_SHAPES)
    def test_each_feature(self, name: str, device: str) -> None:
        assert_accurate(attention_case((SHAPES | KERNEL_SHAPES)[name]).to(device))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_long_prefill_beside_decoding(self, dtype: torch.dtype, device: str) -> None:
        shape = Shape(
            head_dim=64,
            value_dim=64,
            rotary_dims=64,
            ratio=4,
            page_size=32,
            max_block_tokens=600,
            min_workers=2,
            max_new_tokens=500,
            dtype=dtype,
            seed=21,
        )
        case = attention_case(shape).to(device)
        assert case.args[0].shape[0] > 300
        assert_accurate(case)


class TestPositions:
    @pytest.mark.parametrize("offset", [0, 1, 4095, 131_072, 1_000_000])
    def test_offsets_up_to_a_million(self, offset: int, device: str) -> None:
        """The score of a query and a key depends on their distance alone, however far the block is moved."""
        generator = torch.Generator().manual_seed(offset)
        dim, rotary_pos, key_index = 64, 3, 5
        frequencies = inv_freq(dim, base=1e6)
        query, key = torch.randn(2, 1, dim, generator=generator, dtype=torch.float64).unbind()

        def rotated(x: Tensor, position: int) -> Tensor:
            angle = torch.tensor([position], dtype=torch.float64)[:, None] * frequencies.double()
            return reference.rotate(x, angle.cos(), angle.sin(), False, 0)

        k_cache = torch.full((1, 1, 16, dim), torch.nan)
        k_cache[0, 0, : key_index + 1] = 0
        k_cache[0, 0, key_index] = rotated(key, key_index).float()
        ints = lambda *values: torch.tensor(values, dtype=torch.int32)  # noqa: E731
        query_pos = ints(key_index + offset)[:, None]
        arguments = [
            rotated(query, rotary_pos).float()[None],
            k_cache,
            torch.ones_like(k_cache),
            ints(0)[:, None],
            ints(key_index + 1),
            ints(0, 1),
            ints(0, 1),
            query_pos,
            ints(rotary_pos),
            ints(-1),
        ]
        arguments = [argument.to(device) for argument in arguments]
        table = torch.ops.hogwild.rotation_table(arguments[7], arguments[8], frequencies.to(device))
        # A window of the offset and one leaves the last key alone: its score is the lse.
        _, lse = torch.ops.hogwild.attention(*arguments, table, scale=1.0, window=offset + 1)
        score = rotated(query, offset)[0] @ key[0]
        assert abs(lse.item() - score.item()) < 2e-5 * max(1.0, query.norm().item() * key.norm().item() / 8)

    def test_write_block_in_the_middle_of_the_view(self, device: str) -> None:
        """A query sees nothing later than itself in its own block, but what stands behind that block in the view."""
        ints = lambda *values: torch.tensor(values, dtype=torch.int32, device=device)  # noqa: E731
        # Block 0 is written to (4 tokens, two of them new), block 1 (3 tokens) stands behind it in the view.
        k_cache = torch.zeros(2, 1, 4, 2, device=device)
        v_cache = torch.zeros(2, 1, 4, 1, device=device)
        v_cache[0, 0, :, 0] = torch.tensor([1.0, 2.0, 4.0, 8.0])
        v_cache[1, 0, :3, 0] = torch.tensor([16.0, 32.0, 64.0])
        view_length, fed = 7, 2
        position = [view_length - fed + i for i in range(fed)]
        out, lse = torch.ops.hogwild.attention(
            torch.zeros(2, 1, 2, device=device),
            k_cache,
            v_cache,
            ints(0, 1)[:, None].contiguous(),
            ints(4, 3),
            ints(0, 2),
            ints(0, 2),
            torch.stack([ints(p, p - 4) for p in position]),
            ints(2, 3),
            ints(0, 0),
            None,
            scale=1.0,
        )
        # The first one stands at 5: of block 1 it sees the entries at 4 and 5. All scores are 0: plain means.
        seen = [[1.0, 2.0, 4.0, 16.0, 32.0], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]]
        expected = torch.tensor([sum(values) / len(values) for values in seen])
        torch.testing.assert_close(out[:, 0, 0].cpu(), expected)
        torch.testing.assert_close(lse[:, 0].cpu(), torch.tensor([5.0, 7.0]).log())


class TestGroups:
    @pytest.mark.parametrize(
        "shape",
        [
            Shape(groups=3, padding=2, max_blocks=5, seed=31),
            dataclasses.replace(KERNEL_SHAPES["many splits"], padding=2, seed=31),
        ],
        ids=["fp32", "bf16"],
    )
    def test_nan_stays_in_its_group(self, shape: Shape, device: str) -> None:
        case = attention_case(shape)
        clean_out, clean_lse = (tensor.cpu() for tensor in case.to(device).run())
        sick = 1
        k_cache, v_cache = case.k_cache.clone(), case.v_cache.clone()
        k_cache[case.pages_of_group[sick]] = torch.nan
        v_cache[case.pages_of_group[sick]] = torch.nan
        poisoned = dataclasses.replace(case, args=(case.args[0], k_cache, v_cache, *case.args[3:]))
        out, lse = (tensor.cpu() for tensor in poisoned.to(device).run())
        in_sick_group = torch.tensor([group == sick for group in case.group_of_token])
        healthy, sees_something = ~in_sick_group, (clean_lse > -torch.inf).all(1)
        assert_same_bits((out[healthy], lse[healthy]), (clean_out[healthy], clean_lse[healthy]))
        sick_tokens = in_sick_group & sees_something
        assert sick_tokens.any() and out[sick_tokens].isnan().all()
        assert (out[healthy & ~sees_something] == 0).all()

    def test_a_group_alone_gives_the_same_bits(self, device: str) -> None:
        case = attention_case(Shape(groups=3, max_block_tokens=500, page_size=16, seed=32))
        out, lse = case.to(device).run()
        for group in range(3):
            alone = only_group(case, group)
            tokens = slice(case.args[5][group], case.args[5][group + 1])
            assert_same_bits(alone.to(device).run(), (out[tokens], lse[tokens]))

    def test_padding_is_zero(self, device: str) -> None:
        case = attention_case(Shape(groups=2, padding=3, seed=33))
        out, lse = case.to(device).run()
        padding = torch.tensor(case.group_of_token) < 0
        assert (out.cpu()[padding] == 0).all() and (lse.cpu()[padding] == -torch.inf).all()

    @pytest.mark.parametrize("shape", [Shape(seed=34), KERNEL_SHAPES["decoding"]], ids=["fp32", "bf16"])
    def test_no_tokens(self, shape: Shape, device: str) -> None:
        case = only_group(attention_case(shape), None)
        out, lse = case.to(device).run()
        num_heads = shape.kv_heads * shape.ratio
        assert out.shape == (0, num_heads, shape.value_dim) and lse.shape == (0, num_heads)

    @pytest.mark.parametrize("shape", [Shape(seed=35), KERNEL_SHAPES["decoding"]], ids=["fp32", "bf16"])
    @pytest.mark.parametrize("bounds", [[0], [0, 0]], ids=["no group", "a group of nothing"])
    def test_tokens_without_a_block(self, bounds: list[int], shape: Shape, device: str) -> None:
        case = attention_case(shape)
        group_blocks = torch.tensor(bounds, dtype=torch.int32)
        group_tokens = group_blocks.clone()
        group_tokens[1:] = case.args[0].shape[0]
        no_block = torch.full_like(case.args[9], -1)
        arguments = (*case.args[:5], group_tokens, group_blocks, *case.args[7:9], no_block, case.args[10])
        out, lse = dataclasses.replace(case, args=arguments).to(device).run()
        assert len(out) > 0 and (out == 0).all() and (lse == -torch.inf).all()


class TestMemory:
    @pytest.mark.parametrize("name", ["decoding", "sixteen workers", "wide heads, a million away"])
    def test_strides_of_queries_do_not_matter(self, name: str, device: str) -> None:
        """Nor whether their rows start at a multiple of 16 bytes."""
        case = attention_case(KERNEL_SHAPES[name]).to(device)
        q = case.args[0].contiguous()
        num_tokens, num_heads, dim = q.shape
        layouts = {
            "heads first": q.new_empty(num_heads, num_tokens, dim).transpose(0, 1),
            "part of a wider tensor": q.new_empty(num_tokens, num_heads + 2, dim)[:, 1:-1],
            "a gap after each row": q.new_empty(num_tokens, num_heads, dim + 8)[..., :dim],
            "rows at odd elements": q.new_empty(num_tokens, num_heads, dim + 1)[..., 1:],
            "not at 16 bytes": q.new_empty(q.numel() + 3)[3:].view_as(q),
            "every other element": q.new_empty(num_tokens, num_heads, dim, 2)[..., 1],
        }
        expected = dataclasses.replace(case, args=(q, *case.args[1:])).run()
        for layout in layouts.values():
            same = dataclasses.replace(case, args=(layout.copy_(q), *case.args[1:]))
            assert_same_bits(same.run(), expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_pages_that_start_anywhere(self, dtype: torch.dtype, device: str) -> None:
        shape = dataclasses.replace(KERNEL_SHAPES["decoding"], dtype=dtype)
        case = attention_case(shape).to(device)
        q, *caches = case.args[:3]
        moved = [cache.new_empty(cache.numel() + 1)[1:].view_as(cache).copy_(cache) for cache in caches]
        assert all(cache.data_ptr() % 16 for cache in moved)
        assert_accurate(dataclasses.replace(case, args=(q, *moved, *case.args[3:])))


class TestDeterminism:
    NAMES = (
        "split",
        "groups and padding",
        "bf16",
        "many splits",
        "prefill beside decoding",
        "forty sessions",
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_same_bits_on_every_run(self, name: str, device: str) -> None:
        case = attention_case((SHAPES | KERNEL_SHAPES)[name]).to(device)
        first = case.run()
        for _ in range(20):
            assert_same_bits(case.run(), first)

    @pytest.mark.parametrize("name", NAMES)
    def test_same_bits_for_any_number_of_threads(self, name: str) -> None:
        case = attention_case((SHAPES | KERNEL_SHAPES)[name])
        threads = torch.get_num_threads()
        two = case.run()
        try:
            torch.set_num_threads(1)
            one = case.run()
        finally:
            torch.set_num_threads(threads)
        assert_same_bits(one, two)


def only_group(case: AttentionCase, group: int | None) -> AttentionCase:
    """A call with one of the case's groups, or with none."""
    q, k_cache, v_cache, table, lens, group_tokens, group_blocks, query_pos, rotary_pos, own, rotation = (
        case.args
    )
    if group is None:
        tokens = blocks = slice(0, 0)
        group_tokens = group_blocks = torch.zeros(1, dtype=torch.int32)
    else:
        tokens = slice(group_tokens[group], group_tokens[group + 1])
        blocks = slice(group_blocks[group], group_blocks[group + 1])
        group_tokens = (group_tokens[group : group + 2] - group_tokens[group]).contiguous()
        group_blocks = (group_blocks[group : group + 2] - group_blocks[group]).contiguous()
    args = (
        q[tokens],
        k_cache,
        v_cache,
        table[blocks],
        lens[blocks],
        group_tokens,
        group_blocks,
        query_pos[tokens],
        rotary_pos[tokens],
        own[tokens],
        None if rotation is None else rotation[tokens],
    )
    return dataclasses.replace(case, args=args)
