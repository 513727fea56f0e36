"""A plain kernel that only reads, in Triton: the time that no attention over as many bytes can beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

BLOCK = 2048  # words; with 4 warps, four loads of 16 bytes a thread
CTAS_PER_SM = 16


@triton.jit
def _read(source, sink, num_words, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), dtype=tl.int32)
    for start in range(tl.program_id(0) * BLOCK, num_words, tl.num_programs(0) * BLOCK):
        words = tl.multiple_of(start, BLOCK) + tl.arange(0, BLOCK)
        total += tl.load(source + words, mask=words < num_words, other=0)
    tl.store(sink + tl.program_id(0), tl.sum(total, axis=0))


def plain_read(num_bytes: int, device: str) -> Callable[[], object]:
    """A call that reads `num_bytes` (a multiple of 16) of random data."""
    source = torch.randint(-(2**31), 2**31, (num_bytes // 4,), dtype=torch.int32, device=device)
    most = CTAS_PER_SM * torch.cuda.get_device_properties(device).multi_processor_count
    num_ctas = min(most, triton.cdiv(len(source), BLOCK))
    sink = torch.empty(num_ctas, dtype=torch.int32, device=device)
    return lambda: _read[(num_ctas,)](source, sink, len(source), BLOCK=BLOCK, num_warps=4)
