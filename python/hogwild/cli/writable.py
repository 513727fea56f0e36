"""Whether results can be written where they are to go, asked before there are any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from hogwild.engine.trace import is_trace


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


def check_trace(option: str, path: Path) -> None:
    """Refuses what `check_file` refuses, and a file that is no trace: it would be replaced.

    Raises:
        ValueError: the file is not to be written; the message names `option`.
    """
    check_file(option, path)
    try:
        ours = not path.is_file() or not path.stat().st_size or is_trace(path)
    except OSError:
        ours = False
    if not ours:
        raise ValueError(
            f"{option}: {path} is there, and not a recorded run: expected a new file, or a recorded run to replace"
        )


def check_results(option: str, folder: Path, names: Sequence[str], marks: Sequence[str]) -> None:
    """Refuses a folder with files that would be replaced and are not ours.

    Args:
        option: where the folder was named.
        folder: it need not be there.
        names: files of results, which are replaced each time.
        marks: files or folders one of which is there wherever these files are ours.

    Raises:
        ValueError: there are such files; the message names `option` and the first one.
    """
    found = [name for name in names if (folder / name).exists()]
    if found and not any((folder / mark).exists() for mark in marks):
        raise ValueError(
            f"{option}: {folder / found[0]} would be replaced, and is not of an earlier command like this: expected "
            "another folder"
        )


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
