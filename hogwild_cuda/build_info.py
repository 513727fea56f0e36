"""What the extension was built with, and what it runs with."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hogwild_cuda.version import __version__

_RECORD = Path(__file__).with_name("_build.json")


@dataclass(frozen=True)
class BuildInfo:
    """Facts for bug reports and for `hogwild info`.

    From `torch_built` to `git_commit` they were recorded at build time; the others are found out when asked for.
    """

    version: str
    torch_built: str  # the PyTorch whose headers the extension was compiled with
    torch_cuda: str | None  # that PyTorch's CUDA version
    cuda: bool  # whether the CUDA kernels are in the extension
    why_no_cuda: str | None  # the reason, where they are not
    nvcc: str | None
    cuda_arch_list: str | None  # as in TORCH_CUDA_ARCH_LIST
    compiler: str | None
    git_commit: str | None
    torch_running: str
    cpu_capability: str  # the vector instructions that the CPU kernels use on this machine
    editable: bool  # whether the installed package is the source tree itself


def build_info() -> BuildInfo:
    """Returns what was built, with what, and why something is missing.

    Raises:
      ImportError: setup.py's record of the build is missing (without the extension itself, importing this
        package has failed already).
    """
    record = read_record()
    return BuildInfo(
        version=__version__,
        torch_built=record.pop("torch"),
        torch_running=torch.__version__,
        cpu_capability=torch.ops.hogwild.cpu_isa(),
        editable=_is_editable(),
        **record,
    )


def read_record() -> dict[str, Any]:
    """What setup.py wrote down when it built the extension; readable though the extension may not load."""
    if not _RECORD.is_file():
        raise ImportError(f"no record of a build at {_RECORD}: build the package first (see the README)")
    return json.loads(_RECORD.read_text())


def _is_editable() -> bool:
    try:
        origin = importlib.metadata.distribution("hogwild").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    return json.loads(origin or "{}").get("dir_info", {}).get("editable", False)
