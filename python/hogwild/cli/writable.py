"""Whether results can be written where they are to go, asked before there are any."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile


def check_file(option: str, path: Path) -> None:
    """Refuses a file that cannot be written, or made in its folder.

    Raises:
        ValueError: it cannot; the message names `option`.
    """
    try:
        target = path.resolve()  # a link may lead to a file that is not there yet
        if target.exists():
            writable = not target.is_dir() and os.access(target, os.W_OK)
        else:  # permissions do not tell all, as of a file system that is full or none for files
            target.touch(exist_ok=False)
            target.unlink()
            writable = True
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        writable = False
    if not writable:
        raise ValueError(f"{option}: cannot write {path}: expected a file in a folder that can be written")


def check_folder(option: str, folder: Path) -> None:
    """Refuses a folder that can neither be written to nor be made, with those above it.

    Raises:
        ValueError: it cannot; the message names `option`.
    """
    path = folder.absolute()
    there = next(above for above in (path, *path.parents) if os.path.lexists(above))
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError:
        raise ValueError(
            f"{option}: cannot write to {folder}: expected a folder that can be written to, or made"
        ) from None
