"""Every test of the ops runs on the CPU, with all threads however small the call, and on CUDA where there is one."""

from __future__ import annotations

import os

import pytest

# Read at the first call of attention, which no test makes while it is collected.
os.environ.setdefault("HOGWILD_CPU_MIN_WORK", "1")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param
