"""Whether results can be written where they are to go, asked before there are any."""

from __future__ import annotations

import os
from pathlib import Path


def check_file(option: str, path: Path) -> None:
    """Refuses a file that cannot be written, or made in its folder.

    Raises:
        ValueError: it cannot; the message names `option`.
    """
    writable = os.access(path if path.exists() else path.absolute().parent, os.W_OK)
    if path.is_dir() or not writable:
        raise ValueError(f"{option}: cannot write {path}: expected a file in a folder that can be written")


def check_folder(option: str, folder: Path) -> None:
    """Refuses a folder that can neither be written to nor be made, with those above it.

    Raises:
        ValueError: it cannot; the message names `option`.
    """
    path = folder.absolute()
    there = next(above for above in (path, *path.parents) if os.path.lexists(above))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"{option}: cannot write to {folder}: expected a folder that can be written to, or made"
        )
