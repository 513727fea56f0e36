"""Forwards before anything is timed, on devices that compile kernels and capture graphs when they are first needed."""

from __future__ import annotations

from typing import Any

WARM_UP = 32  # forwards of a run that is thrown away


def needs_warm_up(engine: Any) -> bool:
    """Whether the first forwards on this engine would take longer than later ones: on CUDA they do."""
    return getattr(getattr(engine.model, "device", None), "type", "cpu") == "cuda"
