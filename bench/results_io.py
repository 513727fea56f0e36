"""The JSON files of benchmark results: one form for all (scripts/readme_tables.py makes the README's tables of it)."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import re
from pathlib import Path
from typing import Any

import torch
from measured_commit import measured_commit

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


def device_name(device: str = "cpu") -> str:
    """What was measured on, as its vendor calls it, with the number of threads in use on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file() and (
        found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    ):
        model = found[1].strip()
    return f"CPU {model}, {torch.get_num_threads()} threads"


def device_slug(device: str = "cpu") -> str:
    """The device as the first part of a file name: cpu-amd-epyc, nvidia-h100-80gb-hbm3."""
    name = device_name(device).split(",")[0]
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(R\)|\(TM\)|@.*", "", name, flags=re.IGNORECASE).lower())
    return "-".join(words)


def default_path(benchmark: str, device: str = "cpu") -> Path:
    return RESULTS / f"{device_slug(device)}-{benchmark}.json"


def write(
    benchmark: str,
    rows: list[dict[str, Any]],
    *,
    method: str,
    path: str | Path | None = None,
    device: str = "cpu",
    commit: str | None = None,
) -> Path:
    """Write a file of results and return where it is.

    Args:
      benchmark: its name, also the last part of the default file name.
      rows: of each {"case", parameters, "us", "baselines": {name: us}}, on a GPU also "bytes" and "read_us".
      method: how the numbers came about, in a sentence.
      path: by default bench/results/<device>-<benchmark>.json.
      device: what was measured on, as torch names it.
      commit: what was measured, if Git is not there to say it.

    Raises:
      ValueError: a row lacks "case", "us" or "baselines".
    """
    for index, row in enumerate(rows):
        if missing := {"case", "us", "baselines"} - row.keys():
            raise ValueError(f"rows[{index}] lacks {', '.join(sorted(missing))}")
    path = default_path(benchmark, device) if path is None else Path(path)
    result = {
        "benchmark": benchmark,
        "device": device_name(device),
        "date": datetime.date.today().isoformat(),
        "commit": commit or measured_commit(),
        "versions": _versions(device),
        "method": method,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def _versions(device: str) -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    packages = ["transformers"]  # the benchmarks of ops do without any
    if device.startswith("cuda") and torch.version.cuda:
        versions["cuda"] = torch.version.cuda
        versions["cudnn"] = str(torch.backends.cudnn.version())
        packages += ["triton", "flashinfer-python"]
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return versions
