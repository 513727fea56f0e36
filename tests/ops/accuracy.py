"""How far attention may be from the fp64 reference."""

from __future__ import annotations

import torch
from op_samples import AttentionCase
from torch import Tensor

FP32_TOLERANCE = 5e-6


def assert_same_bits(actual: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a.cpu(), b.cpu())


def max_abs(x: Tensor) -> float:
    return x.abs().max().item() if x.numel() else 0.0


def assert_accurate(case: AttentionCase, actual: tuple[Tensor, Tensor] | None = None) -> None:
    """`actual`, or else what the op returns for the case, is as near to the fp64 reference as its dtype allows."""
    out, lse = case.run() if actual is None else actual
    assert out.dtype == case.args[0].dtype and lse.dtype == torch.float32
    if out.dtype == torch.float32:
        _assert_fp32(case, out, lse)
    else:
        _assert_low_precision(case, out, lse)


def _assert_fp32(case: AttentionCase, out: Tensor, lse: Tensor) -> None:
    expected_out, expected_lse = case.reference()
    tolerance = FP32_TOLERANCE * max(1.0, case.shape.spread)
    assert max_abs(out.double() - expected_out) <= tolerance
    _assert_lse(lse, expected_lse, tolerance)


def _assert_low_precision(case: AttentionCase, out: Tensor, lse: Tensor) -> None:
    """At most twice the error of PyTorch's own ops at this precision, and a rounding of queries and result.

    Both roundings of PyTorch's may cancel where there are few rows, hence the second term.
    """
    dtype = out.dtype
    expected_out, expected_lse = case.reference()
    torch_out, torch_lse = case.reference(dtype)
    spread = max(1.0, case.shape.spread)  # an error of the query weighs as much as its scores
    rounding = torch.finfo(dtype).eps * spread
    torch_error = max_abs(torch_out.double() - expected_out)
    assert max_abs(out.double() - expected_out) <= 2 * torch_error + rounding * max_abs(expected_out)
    if out.shape[-1] >= 64:
        assert _error_of_rows(out, expected_out) <= 2 * _error_of_rows(torch_out, expected_out) + rounding
    finite = expected_lse != -torch.inf
    torch_error = max_abs(torch_lse[finite].double() - expected_lse[finite])
    # Kernels may round the rotated query to the dtype; scores are about as large as their lse, or their spread.
    rounding = torch.finfo(dtype).eps / 2 * max(spread, max_abs(expected_lse[finite]))
    _assert_lse(lse, expected_lse, 2 * torch_error + rounding)


def _error_of_rows(out: Tensor, expected: Tensor) -> float:
    """The largest error in a row (a head of a token), relative to the largest of the row's values.

    Rows that see few keys have large values: beside their errors those of rows that see thousands would be lost.
    A row must be wide for its largest value to say how large its values are.
    """
    size = expected.abs().amax(-1)
    error = (out.double() - expected).abs().amax(-1)
    assert (error[size == 0] == 0).all()
    return max_abs(error / size.clamp(min=torch.finfo(out.dtype).tiny))


def _assert_lse(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    empty = expected == -torch.inf
    assert torch.equal(actual == -torch.inf, empty)
    assert max_abs(actual[~empty].double() - expected[~empty]) <= tolerance
