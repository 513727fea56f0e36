"""Whether this code runs because the garbage collector found something: then it must wait for nobody.

The collector runs in whatever thread, between any two instructions, also while that thread holds a lock. What it
finalizes there and waits for another thread may wait for one that wants this lock.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

__all__ = ["in_collector"]

_here = threading.local()


def in_collector() -> bool:
    """Whether this thread is in the middle of a collection. What is freed by its last reference is in none."""
    return getattr(_here, "collecting", False)


def _note(phase: str, info: dict[str, Any]) -> None:
    _here.collecting = phase == "start"


gc.callbacks.append(_note)
