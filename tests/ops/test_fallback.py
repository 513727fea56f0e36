"""The calls that PyTorch ops serve on CUDA, since no kernel does."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_calls import good_calls
from op_samples import SHAPES, AttentionCase, Shape, attention_case
from torch import Tensor

from hogwild_cuda import fallback, reference

WITH_KERNEL = Shape(head_dim=64, value_dim=64, rotary_dims=64, page_size=16, dtype=torch.bfloat16, seed=41)


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    fallback._warn_once.cache_clear()


def moved_by_one_element(tensor: Tensor) -> Tensor:
    """The same numbers and strides, at an address that is no multiple of 16 bytes."""
    storage = tensor.new_empty(tensor.untyped_storage().nbytes() // tensor.element_size() + 1)
    moved = storage[1:].as_strided(tensor.shape, tensor.stride()).copy_(tensor)
    assert moved.data_ptr() % 16 != 0
    return moved


def assert_is_the_reference(case: AttentionCase) -> None:
    torch.testing.assert_close(
        case.run(), reference.attention(*case.args, **case.kwargs), rtol=0, atol=0, equal_nan=True
    )


def test_its_schema_is_that_of_attention_and_a_reason() -> None:
    of_attention = str(torch.ops.hogwild.attention.default._schema)
    with_reason = of_attention.replace("attention(", "_attention_by_torch_ops(").replace(
        ") ->", ", str reason) ->"
    )
    assert str(torch.ops.hogwild._attention_by_torch_ops.default._schema) == with_reason


def test_the_reference_is_called_and_each_reason_given_once() -> None:
    case = attention_case(SHAPES["softcap and sinks"])
    with torch.library._scoped_library("hogwild", "IMPL") as library:
        library.impl("_attention_by_torch_ops", fallback._attention_by_torch_ops, "CPU")
        for reason in ("one reason", "another one"):
            with pytest.warns(fallback.FallbackWarning, match=f"attention .* PyTorch ops.* slow: {reason}$"):
                out, lse = torch.ops.hogwild._attention_by_torch_ops(*case.args, **case.kwargs, reason=reason)
            expected = reference.attention(*case.args, **case.kwargs)
            torch.testing.assert_close((out, lse), expected, rtol=0, atol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.ops.hogwild._attention_by_torch_ops(*case.args, **case.kwargs, reason="one reason")


def test_every_op_has_a_fallback() -> None:
    """Each does what the op does on the CPU, and refuses what it does, in the same words."""
    assert {op for op, _ in good_calls()} == set(fallback.OPS)
    for op, ours in good_calls():
        run, expected = fallback._by_torch_ops(op), getattr(torch.ops.hogwild, op)
        tensors = {name: value for name, value in ours.items() if isinstance(value, Tensor)}
        theirs = {name: tensor.clone() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            for wrong in (tensor.to(torch.complex64), tensor[None], tensor.expand(2, *tensor.shape)):
                refusals = [_refusal(call, ours | {name: wrong}) for call in (run, expected)]
                assert refusals[0] == refusals[1], (op, name)
        torch.testing.assert_close(tensors, theirs, rtol=0, atol=0, equal_nan=True)  # nothing was written
        results = run(**ours), expected(**(ours | theirs))
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(tensors, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


def _refusal(call: Callable[..., object], arguments: dict[str, Any]) -> tuple[type[Exception], str]:
    with pytest.raises((TypeError, ValueError)) as caught:
        call(**arguments)
    return caught.type, str(caught.value)


@pytest.mark.parametrize(
    "op, name, value, message",
    [
        ("append", "slots", [0, 1, 2, 99, 4], r"append: slots\[3\] is 99; expected less than 16"),
        ("append", "slots", [0, 1, 2, 1, -1], r"append: slots\[3\] is 1, as is slots\[1\]"),
        ("move", "dst_slots", [10**6] * 6, r"move: dst_slots\[0\] is 1000000; expected less than"),
    ],
)
def test_elements_are_checked(op: str, name: str, value: list[int], message: str) -> None:
    arguments = dict(good_calls())[op] | {name: torch.tensor(value)}
    before = arguments["k_cache"].clone(), arguments["v_cache"].clone()
    with pytest.raises(ValueError, match=message):
        fallback._by_torch_ops(op)(**arguments)
    caches = arguments["k_cache"], arguments["v_cache"]
    torch.testing.assert_close(caches, before, rtol=0, atol=0, equal_nan=True)


def test_they_have_no_gradients() -> None:
    """As kernels have none."""
    calls = dict(good_calls())
    for op, name in {"attention": "q", "append": "k", "rotation_table": "inv_freq"}.items():
        arguments = calls[op] | {name: calls[op][name].clone().requires_grad_()}
        results = fallback._by_torch_ops(op)(**arguments)
        written = [value for key, value in arguments.items() if isinstance(value, Tensor) and key != name]
        for tensor in [*written, *(results if isinstance(results, tuple) else [results])]:
            assert tensor is None or not tensor.requires_grad, op


@pytest.mark.cuda
@pytest.mark.parametrize(
    "changes",
    [
        {"value_dim": 32},
        {"head_dim": 72, "value_dim": 72},
        {"head_dim": 192, "value_dim": 128},
        {"page_size": 8},
        {"page_size": 48},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shapes_without_a_kernel(changes: dict[str, int], dtype: torch.dtype) -> None:
    case = attention_case(dataclasses.replace(WITH_KERNEL, dtype=dtype, **changes)).to("cuda")
    with pytest.warns(fallback.FallbackWarning, match="attention is served by PyTorch ops"):
        assert_is_the_reference(case)


@pytest.mark.cuda
def test_more_groups_than_a_launch_serves() -> None:
    case = attention_case(dataclasses.replace(WITH_KERNEL, groups=2100, max_blocks=1, max_block_tokens=3))
    with pytest.warns(fallback.FallbackWarning, match="than one launch serves"):
        assert_is_the_reference(case.to("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize("cache", [1, 2], ids=["k_cache", "v_cache"])
def test_pages_that_start_anywhere(cache: int) -> None:
    case = attention_case(WITH_KERNEL).to("cuda")
    args = [*case.args]
    args[cache] = moved_by_one_element(args[cache])
    with pytest.warns(fallback.FallbackWarning, match="does not start at .*16 bytes"):
        assert_is_the_reference(dataclasses.replace(case, args=tuple(args)))


@pytest.mark.cuda
def test_queries_that_start_anywhere_have_a_kernel() -> None:
    case = attention_case(WITH_KERNEL).to("cuda")
    q, *others = case.args
    gaps = torch.empty(*q.shape[:2], 67, dtype=q.dtype, device="cuda")[..., :64].copy_(q)  # odd strides
    with warnings.catch_warnings():
        warnings.simplefilter("error", fallback.FallbackWarning)
        expected = case.run()
        for query in (moved_by_one_element(q), gaps):
            actual = torch.ops.hogwild.attention(query, *others, **case.kwargs)
            assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.cuda
@pytest.mark.parametrize(
    "changes",
    [{}, {"head_dim": 72, "value_dim": 24, "page_size": 5}, {"head_dim": 576, "value_dim": 512}],
    ids=str,
)
def test_fp32_of_any_shape_has_a_kernel(changes: dict[str, int]) -> None:
    shape = dataclasses.replace(WITH_KERNEL, dtype=torch.float32, **changes)
    case = attention_case(shape).to("cuda")
    args = (case.args[0], moved_by_one_element(case.k_cache), *case.args[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error", fallback.FallbackWarning)
        for arguments in (case.args, args):
            out, _ = torch.ops.hogwild.attention(*arguments, **case.kwargs)
            torch.testing.assert_close(out.double(), case.reference()[0], rtol=0, atol=5e-6)


@pytest.mark.cuda
def test_capture_without_a_kernel_is_refused() -> None:
    case = attention_case(dataclasses.replace(WITH_KERNEL, value_dim=32)).to("cuda")
    calls = torch.zeros(1, device="cuda")
    with pytest.raises(
        RuntimeError, match=r"attention: only a kernel can be captured .* different head dims"
    ):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            calls += 1  # a graph of nothing warns
            case.run()
    torch.cuda.synchronize()
