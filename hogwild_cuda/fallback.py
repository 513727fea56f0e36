"""PyTorch-op implementations for CUDA of what has no CUDA kernel.

That is `attention` of shapes that its kernels do not have, and every op where the extension was built without CUDA.
The path is correct but slow: it launches many kernels for each block and waits for the device to read lengths, so
it is not legal inside CUDA-graph capture. The first call of each op for each reason warns.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch

from hogwild_cuda import reference
from hogwild_cuda.build_info import build_info

OPS = ("append", "rotation_table", "attention", "move", "admit")


class FallbackWarning(UserWarning):
    """A call on CUDA is served by PyTorch ops instead of a kernel."""


@functools.cache
def _warn_once(op: str, reason: str) -> None:
    message = f"hogwild::{op} is served by PyTorch ops on CUDA, which is slow: {reason}"
    warnings.warn(message, FallbackWarning, stacklevel=4)


def _with_warning(op: str, implementation: Callable[..., Any], reason: str) -> Callable[..., Any]:
    @functools.wraps(implementation)
    def fallback(*args: Any, **kwargs: Any) -> Any:
        _warn_once(op, reason)
        return implementation(*args, **kwargs)

    return fallback


def _by_torch_ops(op: str) -> Callable[..., Any]:
    """What serves a call of an op without a kernel: it refuses what kernels do, and has no gradients, as these."""
    check = getattr(torch.ops.hogwild, f"_check_{op}")
    plain = getattr(reference, op)

    @functools.wraps(plain)
    def run(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        with torch.no_grad():
            return plain(*args, **kwargs)

    return run


_attention = _by_torch_ops("attention")


def _attention_by_torch_ops(*args: Any, reason: str, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What the CUDA implementation of `attention` calls where it has no kernel, for the reason given."""
    _warn_once("attention", reason)
    return _attention(*args, **kwargs)


def _register() -> None:
    info = build_info()
    if info.cuda:
        torch.library.impl("hogwild::_attention_by_torch_ops", "CUDA", _attention_by_torch_ops)
        return
    reason = f"the extension has no CUDA kernels, because {info.why_no_cuda}"
    for op in OPS:
        torch.library.impl(f"hogwild::{op}", "CUDA", _with_warning(op, _by_torch_ops(op), reason))


_register()
