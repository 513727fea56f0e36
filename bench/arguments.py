"""Types of the benchmarks' arguments, for argparse."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from hogwild.cli.writable import check_file, check_folder
from hogwild.errors import HogwildError


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's `main`; what it was given wrongly is told in a line."""
    try:
        main()
    except HogwildError as error:
        sys.exit(f"error: {error}")


def positive(text: str) -> int:
    """An integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer >= 1")
    return value


def integers(text: str) -> list[int]:
    """Integers of at least 1 with commas between them."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected integers >= 1 with commas between them")
    return values


def output(text: str) -> Path:
    """A file in a folder that can be written to, or made."""
    path = Path(text)
    try:
        check_folder("", path.parent)
        if path.parent.is_dir():
            check_file("", path)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a file in a folder that can be written to"
        ) from None
    return path
