"""What tests of the engine share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def quick_collections() -> Iterator[None]:
    """Collections pass over what is there by now: there is one before every capture of a CUDA graph."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()  # models of earlier tests too
    gc.collect()
    gc.freeze()
