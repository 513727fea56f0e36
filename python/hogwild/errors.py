"""Every error that Hogwild raises on purpose, in one place.

All derive from `HogwildError`. Each is raised before anything is changed, or after everything that had begun
was undone, so the caller's blocks and sessions are as they were.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BlockError",
    "ContextLengthError",
    "HogwildError",
    "NonFiniteLogitsError",
    "PoolExhausted",
    "SessionFinishedError",
    "UnknownNameError",
    "UnsupportedModelError",
]


class HogwildError(Exception):
    """Base class of all errors of this package."""


class BlockError(HogwildError, ValueError):
    """A block, a view or a batch of them is not what the call needs (foreign pool, write target not in view...)."""


class UnknownNameError(HogwildError, ValueError):
    """A name that does not exist; the message lists the ones that do.

    Args:
        kind: what was looked up, e.g. ``"layout"``.
        name: the name that was not found.
        known: the names that exist, in the order to print them.
        hint: one more sentence, for what the caller can do.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str] = (), hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        parts = [f"unknown {kind} {name!r}"]
        if self.known:
            parts.append(f"expected one of: {', '.join(self.known)}")
        if hint:
            parts.append(hint)
        super().__init__("; ".join(parts))


class PoolExhausted(HogwildError):
    """The pool has fewer free pages than a call needs. Nothing was written and no block changed.

    Attributes:
        needed: pages the call needs.
        free: pages that are free.
    """

    def __init__(self, needed: int, free: int, page_size: int) -> None:
        self.needed, self.free, self.page_size = needed, free, page_size
        super().__init__(
            f"pool exhausted: {needed} pages of {page_size} tokens needed, {free} free; "
            "free or clear blocks, or create the pool with a larger max_tokens"
        )


class ContextLengthError(HogwildError, ValueError):
    """A view would hold more tokens than the model has positions for, or than its protocol allows.

    Attributes:
        length, limit: tokens that it would hold, and that it may hold.
    """

    def __init__(
        self, what: str, length: int, limit: int, reason: str = "the model has positions for"
    ) -> None:
        self.length, self.limit = length, limit
        super().__init__(f"{what} would hold {length} tokens, but {reason} {limit}")


class NonFiniteLogitsError(HogwildError, ArithmeticError):
    """The model gave NaN or infinite logits; the forward was not committed for the session concerned."""


class UnsupportedModelError(HogwildError):
    """The model cannot share a cache between workers; the message says why."""


class SessionFinishedError(HogwildError):
    """A session that has ended, or that ends and takes no more input, was told something."""
