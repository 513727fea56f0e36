"""Builds `hogwild_cuda._C`; everything that is not the extension stands in pyproject.toml.

Environment variables:
  FORCE_CUDA            1: build the CUDA sources or fail; 0: CPU only; unset: what is there decides
  TORCH_CUDA_ARCH_LIST  architectures as PyTorch writes them ("8.0;9.0+PTX"); unset: those of the PyTorch
                        that is installed
  CUDA_HOME             where the CUDA toolkit is, there and nowhere else; unset: CUDA_PATH, nvcc on PATH, then
                        /usr/local/cuda
  MAX_JOBS              number of compilers at a time
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from setuptools import Distribution, setup

ROOT = Path(__file__).resolve().parent
MIN_CUDA_ARCH = 80  # cp.async and bf16 mma.sync start here


def find_cuda_home() -> Path | None:
    """The toolkit's folder, with the headers as well as nvcc: an nvcc on PATH may be a wrapper script."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    on_path = shutil.which("nvcc")
    candidates = [Path(named)] if named else []
    if on_path and not named:
        candidates += [Path(on_path).parent.parent, Path(on_path).resolve().parent.parent]
    if not named:
        candidates.append(Path("/usr/local/cuda"))
    for home in candidates:
        if (home / "bin" / "nvcc").is_file() and (home / "include" / "cuda_runtime.h").is_file():
            return home
    return None


def cuda_decision() -> tuple[Path | None, str | None]:
    """(toolkit to build with, None), or (None, the reason why CUDA is left out)."""
    force = os.environ.get("FORCE_CUDA", "")
    if force not in ("", "0", "1"):
        raise SystemExit(f"FORCE_CUDA must be 0, 1 or unset, not {force!r}")
    if force == "0":
        return None, "FORCE_CUDA=0 was set when it was built"
    home = find_cuda_home()
    release = home and cuda_release(home)
    if torch.version.cuda is None:
        reason = f"the PyTorch it was built against ({torch.__version__}) has no CUDA"
    elif home is None:
        named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
        where = f"in {named}, which CUDA_HOME or CUDA_PATH named" if named else "(nvcc on PATH, or CUDA_HOME)"
        reason = f"no CUDA toolkit was found when it was built {where}"
    elif release is None:
        reason = f"nvcc in {home} did not say its version when it was built"
    elif release.split(".")[0] != torch.version.cuda.split(".")[0]:
        reason = (
            f"the CUDA toolkit in {home} is {release}, and PyTorch {torch.__version__} needs one of the same "
            f"major version as its own CUDA, {torch.version.cuda} (CUDA_HOME names another)"
        )
    else:
        return home, None
    if force == "1":
        raise SystemExit(f"FORCE_CUDA=1, but {reason}")
    return None, reason


def cuda_release(home: Path) -> str | None:
    """The toolkit's version, such as 12.8; None where its nvcc does not run."""
    line = first_line_matching([f"{home}/bin/nvcc", "--version"], r"release \d+\.\d+")
    return line and re.search(r"release (\d+\.\d+)", line)[1]


def cuda_arch_list() -> str:
    """What TORCH_CUDA_ARCH_LIST says, else those of the installed PyTorch that the kernels can use."""
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST")
    if chosen:
        for arch in re.findall(r"\b(\d+)\.(\d)", chosen):
            if int("".join(arch)) < MIN_CUDA_ARCH:
                raise SystemExit(
                    f"TORCH_CUDA_ARCH_LIST is {chosen!r}; expected architectures from 8.0 on, where the kernels start"
                )
        return chosen
    # torch.cuda.get_arch_list() answers nothing where no GPU is visible; this is what it reads.
    flags = torch._C._cuda_getArchFlags() or ""
    archs = []
    for kind, number, suffix in re.findall(r"\b(sm|compute)_(\d+)([a-z]?)\b", flags):
        if int(number) >= MIN_CUDA_ARCH:
            name = f"{number[:-1]}.{number[-1]}{suffix}"
            archs.append(name if kind == "sm" else f"{name}+PTX")
    if not archs:
        raise SystemExit(f"PyTorch names no CUDA architecture >= 8.0 ({flags!r}); set TORCH_CUDA_ARCH_LIST")
    return ";".join(archs)


def first_line_matching(command: list[str], pattern: str) -> str | None:
    """The first line of the command's output that contains the pattern; None where it cannot be had."""
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return next((line.strip() for line in output.splitlines() if re.search(pattern, line)), None)


def git_commit() -> str | None:
    """The commit of this tree; None in an unpacked source archive, also inside another repository."""
    if not (ROOT / ".git").exists():
        return None
    return first_line_matching(["git", "rev-parse", "HEAD"], r"^[0-9a-f]{40}")


def sources(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


CUDA_HOME, WHY_NO_CUDA = cuda_decision()
if CUDA_HOME is not None:
    os.environ["CUDA_HOME"] = str(CUDA_HOME)  # before PyTorch looks for it
    os.environ["TORCH_CUDA_ARCH_LIST"] = cuda_arch_list()

from distutils.command.install_data import install_data as install_data_command  # noqa: E402  setuptools' copy

from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402


def extension():
    cpp = [s for s in sources("csrc/cpu/*.cpp", "csrc/api/*.cpp") if not Path(s).name.startswith("cuda_")]
    flags = {"cxx": ["-O3", "-Wall", "-Wno-unknown-pragmas"]}
    # No Python symbol is used, so one binary serves every Python from 3.10 on.
    common = {"include_dirs": [str(ROOT)], "py_limited_api": True}
    if CUDA_HOME is None:
        return CppExtension("hogwild_cuda._C", cpp, extra_compile_args=flags, **common)
    cuda = sources("csrc/api/cuda_*.cpp", "csrc/cache/*.cu", "csrc/flight/*.cu", "csrc/attention/**/*.cu")
    flags["nvcc"] = ["-O3", "-lineinfo", "--threads=2"]
    return CUDAExtension("hogwild_cuda._C", cpp + cuda, extra_compile_args=flags, **common)


class build_ext(BuildExtension):
    """BuildExtension with objects that survive from one build to the next, and a record of what was built."""

    def finalize_options(self) -> None:
        # Editable installs would use a temporary folder; headers of another PyTorch need other objects.
        variant = "cpu" if CUDA_HOME is None else "cuda"
        python = f"{sys.version_info.major}{sys.version_info.minor}"
        self.build_temp = str(ROOT / "build" / f"ext-{variant}-py{python}-torch{torch.__version__}")
        super().finalize_options()

    def run(self) -> None:
        super().run()
        self._record_path().write_text(json.dumps(self._record(), indent=2) + "\n")

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), str(self._record_path(in_build_lib=True))]

    def get_output_mapping(self) -> dict[str, str]:
        mapping = super().get_output_mapping()
        if self.inplace:
            mapping[str(self._record_path(in_build_lib=True))] = str(self._record_path())
        return mapping

    def _record_path(self, in_build_lib: bool = False) -> Path:
        root = ROOT if self.inplace and not in_build_lib else Path(self.build_lib)
        return root / "hogwild_cuda" / "_build.json"

    def _record(self) -> dict:
        with_cuda = CUDA_HOME is not None
        nvcc = first_line_matching([f"{CUDA_HOME}/bin/nvcc", "--version"], "release") if with_cuda else None
        return {
            "torch": torch.__version__,
            "torch_cuda": torch.version.cuda,
            "cuda": with_cuda,
            "why_no_cuda": WHY_NO_CUDA,
            "nvcc": nvcc,
            "cuda_arch_list": os.environ["TORCH_CUDA_ARCH_LIST"] if with_cuda else None,
            "compiler": first_line_matching([self.compiler.compiler_cxx[0], "--version"], r"\d"),
            "git_commit": git_commit(),
        }


class install_data(install_data_command):
    """Puts data files beside the packages, where Python reads .pth files."""

    def finalize_options(self) -> None:
        self.set_undefined_options("install", ("install_purelib", "install_dir"))
        super().finalize_options()


class DistributionWithData(Distribution):
    """Its data files are part of editable installs too, which ask for them by this name."""

    has_data = Distribution.has_data_files


setup(
    distclass=DistributionWithData,
    ext_modules=[extension()],
    data_files=[("", sources("python/hogwild_lm_eval.*"))],  # its docstring says what for
    cmdclass={"build_ext": build_ext, "install_data": install_data},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
