"""A forward that is launched before anybody has asked for it, and before its tokens are known."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.cache import Ahead, ForwardPlan
from hogwild.engine.plain_tokens import PlainRows
from hogwild.engine.static import StaticForward

__all__ = ["Flight"]


class Flight:
    """A launched forward in which every row goes on with the token that is being sampled.

    It stands behind the sampling on the device, which leaves it out unless all tokens are plain ones. It reserves
    nothing: it writes behind the ends of blocks, where the next forward writes if this one is not wanted, and to free
    pages, which whoever takes them instead writes to later. So nothing is lost with a flight but the device's time.

    Args:
        ahead: what is launched, settled.
        forward: that is launched with it.
        plain: the plain tokens of each row, all of which want logits.

    Attributes:
        tokens: that the rows have sampled; None until that is known, and where the device has left the forward out.
        served: whether it was the next forward.
    """

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_blocks",
        "_changes",
        "_integers",
        "_plain",
        "_slots",
        "forward",
        "served",
        "tokens",
    )

    def __init__(self, ahead: Ahead, forward: StaticForward, plain: PlainRows) -> None:
        self.forward = forward
        self.tokens: list[int] | None = None
        self.served = False
        self._ahead, self._integers, self._plain = ahead, ahead.integers, plain
        self._slots = ahead.integers.slots.tolist()
        self._blocks = ahead.integers.blocks
        self._changes = ahead.changes()

    @property
    def is_wasted(self) -> bool:
        """Whether it was computed for nothing, as far as is known."""
        return self.tokens is not None and not self.served

    def land(self, tokens: Sequence[int | None]) -> bool:
        """Told which token each row has sampled: whether the device has admitted it."""
        found = [token for token in tokens if token is not None]
        if len(found) == len(tokens) and self._plain.admit(found):
            self.tokens = found
        return self.tokens is not None

    def is_for(self, plan: ForwardPlan, rows: Sequence[int]) -> bool:
        """Whether the plan's forward, with logits of `rows`, would find just what this one found."""
        integers = plan.integers
        return (
            self.tokens is not None
            and integers is self._integers
            and plan.token_ids == self.tokens
            and rows == integers.last_rows
            and integers.slots.tolist() == self._slots
            and self._changes == [block.changes for block in self._blocks]
            and self._ahead.keeps_pages()
            and self.forward.holds(integers.block_pages)
        )
