"""Every check of an argument: the error names the op and the argument, and nothing has been written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from op_calls import APPEND, ATTENTION, MOVE, good_calls, ints
from op_samples import Shape, append_call, attention_case, inv_freq, move_call
from torch import Tensor

Change = Callable[[Tensor], Any]


def with_element(index: Any, value: int) -> Change:
    def change(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed[index] = value
        return changed

    return change


def padded(tensor: Tensor) -> Tensor:
    """The same numbers with a gap between the rows."""
    return torch.cat([tensor, tensor], dim=-1)[..., : tensor.shape[-1]]


@pytest.mark.parametrize(
    "name, change, error, message",
    [
        ("k", lambda t: t.half(), TypeError, r"append: k is Half.*expected dtype Float"),
        (
            "k",
            lambda t: t[:3],
            ValueError,
            r"append: k is Float of shape \[3, 3, 16\].*\[T, K, D\] = \[5, 3, 16\]",
        ),
        ("k", lambda t: t[..., 0], ValueError, r"append: k is .*\[T, K, D\]"),
        ("v", lambda t: t[..., :4], ValueError, r"append: v is .*\[T, K, Dv\] = \[5, 3, 9\]"),
        ("v", lambda t: t.double(), TypeError, r"append: v is Double"),
        (
            "k_cache",
            lambda t: t.double(),
            TypeError,
            r"append: k_cache is Double.*expected dtype Float, BFloat16 or",
        ),
        ("k_cache", lambda t: t[0], ValueError, r"append: k_cache is .*\[P, K, S, D\]"),
        ("k_cache", padded, ValueError, r"append: k_cache is .*expected a contiguous tensor"),
        ("v_cache", padded, ValueError, r"append: v_cache is .*expected a contiguous tensor"),
        ("v_cache", lambda t: t[1:], ValueError, r"append: v_cache is .*\[P, K, S, Dv\]"),
        ("v_cache", lambda t: t.bfloat16(), TypeError, r"append: v_cache is BFloat16.*expected dtype Float"),
        ("v_cache", lambda t: t[..., :0], ValueError, r"append: .*Dv must be at least 1"),
        ("slots", lambda t: t.int(), TypeError, r"append: slots is Int.*expected dtype Long"),
        ("slots", lambda t: t[:, None], ValueError, r"append: slots is .*\[T\]"),
    ],
)
def test_append(name: str, change: Change, error: type[Exception], message: str, device: str) -> None:
    check_append(name, change, error, message, device)


def test_append_to_a_slot_that_is_not_there() -> None:
    message = r"append: slots\[1\] is 16; expected less than 16 \(4 pages of 4\)"
    check_append("slots", with_element(1, 16), ValueError, message, "cpu")


def test_append_to_a_slot_twice() -> None:
    """Which of the tokens would be kept depends on threads."""
    *tensors, slots = append_call(5, torch.float32)
    arguments = dict(zip(APPEND, (*tensors, slots), strict=True))
    torch.ops.hogwild.append(**(arguments | {"slots": torch.tensor([-1, 3, -1, 2, -1])}))
    message = r"append: slots\[4\] is 3, as is slots\[1\]; expected no slot to be written twice"
    check_append("slots", lambda t: torch.tensor([-1, 3, -1, 2, 3]), ValueError, message, "cpu")


def check_append(name: str, change: Change, error: type[Exception], message: str, device: str) -> None:
    tensors = (tensor.to(device) for tensor in append_call(5, torch.float32))
    arguments = dict(zip(APPEND, tensors, strict=True))
    untouched = arguments["k_cache"].clone(), arguments["v_cache"].clone()
    with pytest.raises(error, match=message):
        torch.ops.hogwild.append(**(arguments | {name: change(arguments[name])}))
    caches = arguments["k_cache"], arguments["v_cache"]
    torch.testing.assert_close(caches, untouched, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "name, value, error, message",
    [
        (
            "query_pos",
            torch.zeros(3, 2),
            TypeError,
            r"rotation_table: query_pos is Float.*expected dtype Int",
        ),
        ("query_pos", ints(1, 2, 3), ValueError, r"rotation_table: query_pos is .*\[T, F\]"),
        ("query_pos", ints(*range(6)).view(2, 3).T, ValueError, r"rotation_table: query_pos is .*contiguous"),
        ("rotary_pos", ints(1, 2), ValueError, r"rotation_table: rotary_pos is .*\[T\] = \[3\]"),
        ("rotary_pos", torch.arange(3), TypeError, r"rotation_table: rotary_pos is Long.*expected dtype Int"),
        ("inv_freq", torch.ones(4).double(), TypeError, r"rotation_table: inv_freq is Double.*dtype Float"),
        ("inv_freq", torch.ones(2, 2), ValueError, r"rotation_table: inv_freq is .*\[R/2\]"),
    ],
)
def test_rotation_table(name: str, value: Tensor, error: type[Exception], message: str, device: str) -> None:
    arguments = {
        "query_pos": ints(*range(6)).view(3, 2),
        "rotary_pos": ints(0, 1, 2),
        "inv_freq": torch.ones(4),
    }
    arguments = {key: tensor.to(device) for key, tensor in (arguments | {name: value}).items()}
    with pytest.raises(error, match=message):
        torch.ops.hogwild.rotation_table(**arguments)


@pytest.mark.parametrize(
    "name, change, error, message",
    [
        ("q", lambda t: t.bfloat16(), TypeError, r"attention: q is BFloat16.*expected dtype Float"),
        ("q", lambda t: t[..., :8], ValueError, r"attention: q is .*\[T, H, D\] = \[-1, -1, 16\]"),
        (
            "q",
            lambda t: t[:, :3],
            ValueError,
            r"attention: q has 3 heads; expected a multiple of k_cache's 2 kv",
        ),
        ("q", lambda t: t[:, :0], ValueError, r"attention: q has 0 heads"),
        ("k_cache", padded, ValueError, r"attention: k_cache is .*expected a contiguous tensor"),
        ("v_cache", lambda t: t.half(), TypeError, r"attention: v_cache is Half"),
        ("v_cache", lambda t: t[:, :1], ValueError, r"attention: v_cache is .*\[P, K, S, Dv\]"),
        ("block_table", lambda t: t.long(), TypeError, r"attention: block_table is Long.*expected dtype Int"),
        ("block_table", lambda t: t[:-1], ValueError, r"attention: block_table is .*\[B, max_pages\]"),
        ("block_table", padded, ValueError, r"attention: block_table is .*expected a contiguous tensor"),
        ("block_lens", lambda t: t.long(), TypeError, r"attention: block_lens is Long"),
        ("group_tokens", lambda t: t[:-1], ValueError, r"attention: group_blocks is .*\[G\+1\]"),
        (
            "group_tokens",
            lambda t: t[:0],
            ValueError,
            r"attention: group_tokens is empty; expected G\+1 offsets",
        ),
        ("query_pos", lambda t: t.long(), TypeError, r"attention: query_pos is Long"),
        ("query_pos", lambda t: t[1:], ValueError, r"attention: query_pos is .*\[T, F\]"),
        ("query_pos", padded, ValueError, r"attention: query_pos is .*expected a contiguous tensor"),
        ("rotary_pos", lambda t: t[1:], ValueError, r"attention: rotary_pos is .*\[T\]"),
        ("own_block", lambda t: t[1:], ValueError, r"attention: own_block is .*\[T\]"),
        ("rotation", lambda t: t.double(), TypeError, r"attention: rotation is Double.*expected dtype Float"),
        ("rotation", lambda t: t[:, :, :1], ValueError, r"attention: rotation is .*\[T, F, 2, R/2\]"),
        ("rotation", padded, ValueError, r"attention: rotation is .*expected a contiguous tensor"),
        (
            "rotation",
            lambda t: torch.cat([t, t], -1),
            ValueError,
            r"attention: rotation rotates 32 dims.*only 16",
        ),
    ],
)
def test_attention(name: str, change: Change, error: type[Exception], message: str, device: str) -> None:
    case = attention_case(Shape(groups=2, padding=1, seed=3)).to(device)
    arguments = dict(zip(ATTENTION, case.args, strict=True))
    with pytest.raises(error, match=message):
        torch.ops.hogwild.attention(**(arguments | {name: change(arguments[name])}), **case.kwargs)


# What kernels on CUDA trust; the path by PyTorch ops checks it there.
ELEMENTS = [
    ("block_table", with_element((0, 0), -3), r"block_table\[0, 0\] is -3; expected a page from 0 to"),
    ("block_table", with_element((0, 0), 2**30), r"block_table\[0, 0\] is 1073741824"),
    ("block_lens", with_element(0, -1), r"attention: block_lens\[0\] is -1; expected 0 to"),
    ("block_lens", with_element(0, 10**6), r"attention: block_lens\[0\] is 1000000; expected 0 to"),
    ("group_tokens", with_element(0, -1), r"attention: group_tokens\[0\] is -1; expected 0 or more"),
    ("group_tokens", with_element(1, 99), r"group_tokens\[2\] is .* after 99; expected ascending"),
    ("group_tokens", with_element(2, 99), r"group_tokens\[2\] is 99; expected at most the number of"),
    ("group_blocks", with_element(1, -1), r"attention: group_blocks\[1\] is -1 after 0"),
    ("group_blocks", with_element(2, 99), r"group_blocks\[2\] is 99; expected at most the number of"),
    ("own_block", with_element(0, 7), r"attention: own_block\[0\] is 7; expected -1 or one of the"),
    ("own_block", with_element(0, -2), r"attention: own_block\[0\] is -2; expected -1 or one of"),
]


@pytest.mark.parametrize("name, change, message", ELEMENTS)
@pytest.mark.filterwarnings("ignore::hogwild_cuda.fallback.FallbackWarning")
def test_elements_of_attention(name: str, change: Change, message: str, device: str) -> None:
    case = attention_case(Shape(groups=2, padding=1, dtype=torch.bfloat16, seed=3)).to(device)
    arguments = dict(zip(ATTENTION, case.args, strict=True))
    assert arguments["block_lens"][0] > 0
    torch.ops.hogwild._check_attention(**arguments, **case.kwargs)
    arguments[name] = change(arguments[name])
    for op in (torch.ops.hogwild.attention, torch.ops.hogwild._check_attention):
        with pytest.raises(ValueError, match=message):
            op(**arguments, **case.kwargs)


def test_attention_with_too_few_columns() -> None:
    case = attention_case(Shape(max_blocks=3, min_workers=3, seed=3))
    arguments = dict(zip(ATTENTION, case.args, strict=True)) | {"rotation": None}
    arguments["query_pos"] = arguments["query_pos"][:, :2].contiguous()
    with pytest.raises(
        ValueError, match="query_pos has 2 columns; expected at least the 3 blocks of group 0"
    ):
        torch.ops.hogwild.attention(**arguments, **case.kwargs)


@pytest.mark.parametrize(
    "name, value, error, message",
    [
        ("scale", float("nan"), ValueError, r"attention: scale is nan; expected a number that is finite"),
        ("scale", 1e39, ValueError, r"attention: scale is 1e\+39; expected a number that is finite in fp32"),
        ("window", -1, ValueError, r"attention: window is -1; expected 0 \(none\) or"),
        ("window", 2**31, ValueError, r"attention: window is 2147483648"),
        ("softcap", -1.0, ValueError, r"attention: softcap is -1; expected 0 \(none\) or a number that is"),
        ("softcap", float("nan"), ValueError, r"attention: softcap is nan"),
        ("softcap", 1e39, ValueError, r"attention: softcap is 1e\+39; .* positive and finite in fp32"),
        ("softcap", 1e-60, ValueError, r"attention: softcap is 1e-60; .* positive and finite in fp32"),
        ("softcap", float("inf"), ValueError, r"attention: softcap is inf"),
        ("sinks", torch.zeros(3), ValueError, r"attention: sinks is .*\[H\] = \[4\]"),
        (
            "sinks",
            torch.zeros(4).int(),
            TypeError,
            r"attention: sinks is Int.*expected a floating-point dtype",
        ),
        ("rotary_start", -1, ValueError, r"attention: rotary_start is -1; expected 0 to 16, the dims"),
        (
            "rotary_start",
            1,
            ValueError,
            r"attention: rotation rotates 16 dims from rotary_start 1 on, but a head",
        ),
    ],
)
def test_attention_options(name: str, value: Any, error: type[Exception], message: str, device: str) -> None:
    case = attention_case(Shape(seed=3)).to(device)
    value = value.to(device) if isinstance(value, Tensor) else value
    with pytest.raises(error, match=message):
        torch.ops.hogwild.attention(*case.args, **(case.kwargs | {name: value}))


@pytest.mark.parametrize(
    "name, change, error, message",
    [
        ("k_cache", padded, ValueError, r"move: k_cache is .*expected a contiguous tensor"),
        ("v_cache", lambda t: t.half(), TypeError, r"move: v_cache is Half"),
        ("src_slots", lambda t: t.int(), TypeError, r"move: src_slots is Int.*expected dtype Long"),
        ("dst_slots", lambda t: t[1:], ValueError, r"move: dst_slots is .*\[N\] = \[6\]"),
        ("shift", lambda t: t.long(), TypeError, r"move: shift is Long.*expected dtype Int"),
        ("shift", lambda t: t[1:], ValueError, r"move: shift is .*\[N\] = \[6\]"),
        ("inv_freq", lambda t: t.bfloat16(), TypeError, r"move: inv_freq is BFloat16.*expected dtype Float"),
        (
            "inv_freq",
            lambda t: t.new_ones(9),
            ValueError,
            r"move: inv_freq rotates 18 dims.*a head has only 16",
        ),
    ],
)
def test_move(name: str, change: Change, error: type[Exception], message: str, device: str) -> None:
    check_move(name, change, error, message, device)


@pytest.mark.parametrize("name", ["src_slots", "dst_slots"])
def test_move_of_a_slot_that_is_not_there(name: str) -> None:
    message = rf"move: {name}\[0\] is 1000000; expected less than"
    check_move(name, with_element(0, 10**6), ValueError, message, "cpu")


def check_move(name: str, change: Change, error: type[Exception], message: str, device: str) -> None:
    args, _ = move_call(6, torch.float32, 8, interleaved=False, reach=10, seed=0)
    arguments = dict(zip(MOVE, (arg.to(device) for arg in args), strict=True))
    untouched = arguments["k_cache"].clone()
    with pytest.raises(error, match=message):
        torch.ops.hogwild.move(**(arguments | {name: change(arguments[name])}))
    torch.testing.assert_close(arguments["k_cache"], untouched, rtol=0, atol=0, equal_nan=True)


def test_move_from_a_destination() -> None:
    k_cache, v_cache = torch.zeros(2, 1, 4, 2), torch.zeros(2, 1, 4, 2)
    shift = torch.zeros(2, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"move: dst_slots\[0\] is 1, which is in src_slots too"):
        torch.ops.hogwild.move(
            k_cache, v_cache, torch.tensor([0, 1]), torch.tensor([1, 2]), shift, inv_freq(2)
        )


def test_move_to_a_destination_twice() -> None:
    k_cache, v_cache = torch.zeros(2, 1, 4, 2), torch.zeros(2, 1, 4, 2)
    k_cache[0] = torch.arange(4)[None, :, None]
    before, shift = k_cache.clone(), torch.zeros(3, dtype=torch.int32)
    message = r"move: dst_slots\[2\] is 5, as is dst_slots\[0\]; expected no slot to be written twice"
    sources, twice = torch.tensor([0, 1, 2]), torch.tensor([5, 4, 5])
    with pytest.raises(ValueError, match=message):
        torch.ops.hogwild.move(k_cache, v_cache, sources, twice, shift, inv_freq(2))
    assert torch.equal(k_cache, before)
    skipped = torch.tensor([0, 1, -1])  # who moves nothing has no destination
    torch.ops.hogwild.move(k_cache, v_cache, skipped, twice, shift, inv_freq(2))
    assert k_cache[1, 0, :2, 0].tolist() == [1, 0]


@pytest.mark.parametrize("start", [-1, 17])
def test_rotary_start_without_rotation(start: int, device: str) -> None:
    """There is nothing to say about the dims that are rotated."""
    case = attention_case(Shape(rotary_dims=0, seed=3)).to(device)
    (*arguments, _), options = move_call(6, torch.float32, 0, interleaved=False, reach=10, seed=0)
    arguments = [argument.to(device) for argument in arguments]
    message = rf"rotary_start is {start}; expected 0 to 16, the dims of a head"
    with pytest.raises(ValueError, match=f"attention: {message}"):
        torch.ops.hogwild.attention(*case.args, **(case.kwargs | {"rotary_start": start}))
    with pytest.raises(ValueError, match=f"move: {message}"):
        torch.ops.hogwild.move(*arguments, None, **(options | {"rotary_start": start}))


def on_cpu(op: str) -> Callable[..., Any]:
    """The CPU implementation of an op, whatever devices its arguments are on."""
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    return partial(getattr(torch.ops.hogwild, op).default.redispatch, keys)


def test_device_of_the_other_arguments() -> None:
    query_pos, rotary_pos, frequencies = ints(*range(6)).view(3, 2), ints(0, 1, 2), torch.ones(4)
    with pytest.raises(ValueError, match=r"inv_freq is .* on meta; expected device cpu, that of query_pos"):
        on_cpu("rotation_table")(query_pos, rotary_pos, frequencies.to("meta"))
    *arguments, slots = append_call(5, torch.float32)
    with pytest.raises(ValueError, match=r"slots is .* on meta; expected device cpu, that of k_cache"):
        on_cpu("append")(*arguments, slots.to("meta"))


def test_one_meta_tensor_among_others() -> None:
    """Such a call goes to the fake implementation, which computes nothing."""
    for op, arguments in good_calls():
        function = getattr(torch.ops.hogwild, op)
        tensors = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor)}
        for name, value in tensors.items():
            with pytest.raises(ValueError, match=rf"{op}: \w+ is on (meta|cpu); expected device (meta|cpu)"):
                function(**(arguments | {name: value.to("meta")}))
        function(**(arguments | {name: value.to("meta") for name, value in tensors.items()}))


def test_meta_tensors() -> None:
    """Dtypes and numbers of dims are refused by name where nothing is computed, too."""
    for op, arguments in good_calls():
        function = getattr(torch.ops.hogwild, op)
        tensors = {name: value.to("meta") for name, value in arguments.items() if isinstance(value, Tensor)}
        for name, value in tensors.items():
            with pytest.raises(TypeError, match=rf"{op}: {name} is torch.complex64 of .*; expected"):
                function(**(arguments | tensors | {name: value.to(torch.complex64)}))
            with pytest.raises(ValueError, match=rf"{op}: {name} is .* on meta; expected \[.*\]"):
                function(**(arguments | tensors | {name: value[None]}))


def test_a_compiled_call() -> None:
    case = attention_case(Shape(seed=3))
    compiled = torch.compile(torch.ops.hogwild.attention, fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"attention: q is .* of shape \[\d+, 16\].*; expected \[T, H, D\]"):
        compiled(case.args[0][:, 0], *case.args[1:], **case.kwargs)


def test_memory_that_is_written_is_no_other_arguments(device: str) -> None:
    k_cache, v_cache = torch.zeros(2, 2, 3, 1, 4, 8, device=device)[0]
    slots = torch.tensor([0, 5], device=device)
    k, shift = torch.ones(2, 1, 8, device=device), torch.zeros(2, dtype=torch.int32, device=device)
    torch.ops.hogwild.append(k, k, k_cache, v_cache, slots)  # what is read may be shared
    before = k_cache.clone()
    rows = k_cache[:2, :, 1]
    own = "; expected memory of its own"
    for name, call, message in (
        ("append", (rows, k, k_cache, v_cache, slots), f"k is .* shares memory with k_cache{own}"),
        ("append", (k, rows, k_cache, v_cache, slots), f"v is .* shares memory with k_cache{own}"),
        ("append", (k, k, k_cache, k_cache, slots), f"v_cache is .* shares memory with k_cache{own}"),
        ("move", (k_cache, k_cache, slots, slots + 1, shift, None), f"v_cache is .* with k_cache{own}"),
    ):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            getattr(torch.ops.hogwild, name)(*call)
    assert torch.equal(k_cache, before)


@pytest.mark.cuda
@pytest.mark.parametrize("name", APPEND)
def test_append_with_a_tensor_on_another_device(name: str) -> None:
    arguments = dict(zip(APPEND, (tensor.cuda() for tensor in append_call(5, torch.float32)), strict=True))
    arguments[name] = arguments[name].cpu()
    with pytest.raises(ValueError, match=r"append: .* on (cpu|cuda:0); expected device (cpu|cuda:0)"):
        torch.ops.hogwild.append(**arguments)


def test_attention_by_pytorch_ops_is_refused_in_the_same_words(device: str) -> None:
    case = attention_case(Shape(seed=3)).to(device)
    q, *others = case.args
    assert torch.ops.hogwild._check_attention(q, *others, **case.kwargs) is None
    with pytest.raises(ValueError, match=r"attention: q is .*\[T, H, D\] = \[-1, -1, 16\]"):
        torch.ops.hogwild._check_attention(q[..., :8], *others, **case.kwargs)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_with_a_tensor_on_another_device(name: str) -> None:
    case = attention_case(Shape(seed=3)).to("cuda")
    arguments = dict(zip(ATTENTION, case.args, strict=True))
    arguments[name] = arguments[name].cpu()
    with pytest.raises(ValueError, match=r"attention: .* on (cpu|cuda:0); expected device (cpu|cuda:0)"):
        torch.ops.hogwild.attention(**arguments, **case.kwargs)
