"""Every test of the ops runs on the CPU, with all threads however small the call, and on CUDA where there is one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest

from hogwild_cuda import fallback

# Read at the first call of attention, which no test makes while it is collected.
os.environ.setdefault("HOGWILD_CPU_MIN_WORK", "1")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def no_fallback() -> Iterator[None]:
    """A call that PyTorch ops serve on CUDA fails."""
    fallback._warn_once.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", fallback.FallbackWarning)
        yield
