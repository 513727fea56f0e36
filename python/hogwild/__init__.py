"""Hogwild: several instances of one language model over one shared, concurrently updated KV cache.

import hogwild
hogwild.enable(model)                          # a loaded Hugging Face model, see hogwild.shared_cache
engine = hogwild.Engine.from_pretrained("demo")
result = engine.collaborate("...", workers=2)
"""

from __future__ import annotations

import importlib
import importlib.util
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hogwild import errors, shared_cache
    from hogwild.models import disable, enable
    from hogwild.protocols import Engine

    __version__: str

__all__ = ["Engine", "__version__", "disable", "enable", "errors", "shared_cache"]

# torch and transformers take seconds to import: only what is used is loaded
_LAZY = {"Engine": "hogwild.protocols", "disable": "hogwild.models", "enable": "hogwild.models"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "__version__":
        return _version()
    if name in ("errors", "shared_cache"):
        return importlib.import_module(f"hogwild.{name}")
    raise AttributeError(f"module 'hogwild' has no attribute {name!r}")


def _version() -> str:
    """From its one file, without importing the package around it, which would load torch."""
    spec = importlib.util.find_spec("hogwild_cuda")
    assert spec is not None and spec.origin is not None
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))["__version__"]
