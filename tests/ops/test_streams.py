"""hogwild::attention on any stream, from several threads, on any device."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from accuracy import assert_accurate, assert_same_bits
from decoding import Decoding
from kernel_samples import KERNEL_SHAPES
from op_samples import AttentionCase, attention_case
from torch import Tensor

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("no_fallback")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_current_stream_is_waited_for(dtype: torch.dtype) -> None:
    case = attention_case(dataclasses.replace(KERNEL_SHAPES["decoding"], dtype=dtype), "cuda")
    expected = case.run()
    q = torch.zeros_like(case.args[0])
    late = dataclasses.replace(case, args=(q, *case.args[1:]))
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        q.copy_(case.args[0])
        results = late.run()
        torch.cuda.current_stream().synchronize()
    assert_same_bits(results, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_no_other_stream_is_waited_for(dtype: torch.dtype) -> None:
    """The default stream copies from the host: a kernel there would keep a multiprocessor from the launch's CTAs."""
    host = torch.zeros(2**28, dtype=torch.uint8, pin_memory=True)
    on_device = host.to("cuda")
    decoding = Decoding(3, 128, dtype, "cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            decoding.forward()  # memory is allocated here, which may wait for the device
    torch.cuda.synchronize()
    for _ in range(40):  # some tenths of a second
        on_device.copy_(host, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    with torch.cuda.stream(side):
        results = decoding.forward()
        side.synchronize()
    assert not copied.query()
    torch.cuda.synchronize()
    assert_accurate(decoding.case, results)


def test_threads_do_not_disturb_each_other() -> None:
    names = ("decoding", "many splits", "prefill beside decoding", "wide heads, a million away")
    cases = [attention_case(KERNEL_SHAPES[name], "cuda") for name in names]
    alone = [case.run() for case in cases]
    torch.cuda.synchronize()
    start = threading.Barrier(len(cases), timeout=60)

    def run(case: AttentionCase) -> list[tuple[Tensor, Tensor]]:
        with torch.cuda.stream(torch.cuda.Stream()):
            start.wait()
            results = [case.run() for _ in range(100)]
            torch.cuda.current_stream().synchronize()
        return results

    with ThreadPoolExecutor(len(cases)) as threads:
        for results, expected in zip(threads.map(run, cases), alone, strict=True):
            for result in results:
                assert_same_bits(result, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_device_that_is_not_the_current_one(dtype: torch.dtype) -> None:
    decoding = Decoding(5, 128, dtype, "cuda:1")
    with torch.cuda.device(0):
        for _ in range(5):
            out, lse = decoding.forward()
        assert torch.cuda.current_device() == 0
        assert out.device == lse.device == torch.device("cuda:1")
        assert_accurate(decoding.case, (out, lse))
        torch.cuda.synchronize(1)
        with torch.cuda.stream(torch.cuda.Stream(device=1)):
            assert_same_bits(decoding.case.run(), (out, lse))
