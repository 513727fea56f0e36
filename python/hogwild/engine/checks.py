"""Checks of arguments that are made in several places."""

from __future__ import annotations


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
