"""A forward that is computed before anybody has said that it is the next one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hogwild.cache import ForwardPlan
from hogwild.engine.runner import Runner

__all__ = ["Flight"]


class Flight:
    """A launched forward in which every row goes on with the token that it has just sampled.

    It takes no pages: what it writes stands behind the ends of blocks, on pages that are theirs already, where the
    next forward writes if this one is not wanted. So nothing is lost with a flight but the device's time.

    Args:
        plan: what was launched; it is open.
        tokens: of each row.
        logits: where its logits come out; valid until the runner's next call.
        runner: that it was launched with, just now.

    Attributes:
        plan, logits: see above.
    """

    __slots__ = ("_blocks", "_calls", "_changes", "_runner", "_stream", "_tokens", "logits", "plan")

    def __init__(
        self, plan: ForwardPlan, tokens: Sequence[tuple[int, ...]], logits: torch.Tensor, runner: Runner
    ) -> None:
        self.plan, self.logits = plan, logits
        self._tokens, self._runner, self._calls = list(tokens), runner, runner.calls
        self._blocks = plan.integers.blocks
        self._changes = [block.changes for block in self._blocks]
        self._stream = torch.cuda.current_stream(logits.device) if logits.is_cuda else None

    def is_next(self, tokens: Sequence[tuple[int, ...]] | None) -> bool:
        """Whether a forward of these tokens, of the same rows, would find just what this one found.

        Args:
            tokens: of each row; None: the forward is another one.
        """
        return (
            tokens == self._tokens
            and self._calls == self._runner.calls
            and self._changes == [block.changes for block in self._blocks]
            and self.plan.holds()
        )

    def join(self) -> None:
        """Have the current stream wait for it, if that is another one than it was launched on."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self.logits.device)
            if current != self._stream:
                current.wait_stream(self._stream)
