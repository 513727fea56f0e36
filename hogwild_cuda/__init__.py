"""The ops of Hogwild: `torch.ops.hogwild.append`, `attention`, `rotation_table`, `move` and `admit`.

Importing this package loads the extension and registers the ops for the CPU, for CUDA and for fake tensors.
`hogwild_cuda.ops` documents every op, `hogwild_cuda.reference` says in plain PyTorch what each one means, and
`build_info()` says what was built.
"""

from __future__ import annotations

from pathlib import Path

import torch

from hogwild_cuda.build_info import BuildInfo, build_info, read_record
from hogwild_cuda.version import __version__

__all__ = ["BuildInfo", "__version__", "build_info"]


def _load_extension() -> None:
    here = Path(__file__).parent
    library = next(iter(sorted(here.glob("_C*.so"))), None)
    if library is None:
        raise ImportError(
            f"hogwild_cuda is not built: there is no _C*.so in {here}. "
            "In the source tree, run `pip install --no-build-isolation -e .`"
        )
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        raise ImportError(
            f"{library.name} does not load; it was built against PyTorch {read_record()['torch']} and PyTorch "
            f"{torch.__version__} is running: build it again (`pip install --no-build-isolation .`). "
            f"The loader said: {error}"
        ) from error


_load_extension()

from hogwild_cuda import fallback, ops  # noqa: E402, F401  (they register implementations of the loaded ops)
