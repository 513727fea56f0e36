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
