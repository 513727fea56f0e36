"""PyTorch-op implementations for CUDA of the ops that have no CUDA kernel.

`attention` is served this way for now; so are the other ops where the extension was built without CUDA. The
path is correct but slow: it launches many kernels for each block and waits for the device to read lengths, so
it is not legal inside CUDA-graph capture. The first call of each op warns.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch

from hogwild_cuda import reference
from hogwild_cuda.build_info import build_info


class FallbackWarning(UserWarning):
    """An op runs on CUDA by PyTorch ops instead of a kernel of its own."""


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


def _checked_attention(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    torch.ops.hogwild._check_attention(*args, **kwargs)
    with torch.no_grad():  # as the kernels: no gradients
        return reference.attention(*args, **kwargs)


def _register() -> None:
    reasons = {"attention": "there is no CUDA kernel for it yet"}
    info = build_info()
    if not info.cuda:
        without_cuda = f"the extension has no CUDA kernels, because {info.why_no_cuda}"
        reasons = dict.fromkeys(("append", "rotation_table", "attention", "move"), without_cuda)
    for op, reason in reasons.items():
        plain = _checked_attention if op == "attention" else getattr(reference, op)
        implementation = _with_warning(op, plain, reason)
        torch.library.impl(f"hogwild::{op}", "CUDA", implementation)


_register()
