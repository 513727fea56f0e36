"""Checks of arguments that are made in several places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def check_integer(name: str, value: object, minimum: int | None = None) -> None:
    """Refuse what is not an integer of at least `minimum`.

    Raises:
        TypeError: not an integer; a bool is none.
        ValueError: too small.
    """
    expected = "an integer" if minimum is None else f"an integer >= {minimum}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False; TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")


def check_kind(name: str, value: object, kind: type) -> None:
    """Refuse what is neither a `kind` nor None; TypeError."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name}: expected {kind.__name__} or None, got {value!r}")


def token_ids(name: str, value: Any) -> tuple[int, ...]:
    """Token ids as they are kept.

    Raises:
        TypeError: not integers in a row.
        ValueError: a negative one.
    """
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected token ids, got {value!r}")
    ids = tuple(value)
    for token in ids:
        check_integer(name, token, minimum=0)
    return ids


def check_text(name: str, value: object) -> None:
    """Refuse what is not text that a tokenizer can take.

    Raises:
        TypeError: not text.
        ValueError: blank, or with a surrogate: half of a character, or a byte that was not UTF-8.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {value!r}")
    if not value.strip():
        raise ValueError(f"{name}: expected some text, got none")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}: expected text in Unicode, got {value[error.start]!r} at {error.start}"
        ) from None
