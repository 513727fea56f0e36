"""What carries a planned forward out: the seam between the scheduling of forwards and the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from hogwild.cache import Ahead, ForwardPlan, Integers, PlanWithGuests
from hogwild.models import packed_forward

if TYPE_CHECKING:
    from hogwild.engine.flight import Flight

__all__ = ["EagerRunner", "Runner", "run_plan"]


class Runner(Protocol):
    """Runs the model over the tokens of a plan. The engine commits the plan, or rolls it back."""

    def run(self, plan: ForwardPlan, rows: Sequence[int]) -> torch.Tensor:
        """Write keys and values of the plan's tokens, and give the logits of some of them.

        Args:
            plan: made of token ids, without padding.
            rows: packed indices of the tokens whose logits are wanted, at least one.

        Returns:
            [len(rows), vocab] logits, in fp32 or the model's dtype, on the model's device; valid until the next
            call.

        Raises:
            Exception: whatever the model raises; nothing outside of the plan's reserved pages was written then.
        """

    @property
    def ahead(self) -> bool:
        """Whether the host has time to spare after the last `run`, because a device computes meanwhile."""

    def expect(self, integers: Integers) -> None:
        """Told in that time what the next plan's integers will be, most likely; their slots and pages are open."""

    def launch(
        self, ahead: Ahead, tokens: Callable[[], torch.Tensor], plain: Sequence[torch.Tensor]
    ) -> Flight | None:
        """Asked in that time to compute what is expected, if the tokens that are being sampled are plain ones.

        If the next plan is what was launched then, `run` gives the logits of that. The last `run` was given a token
        of every row, and no other tokens.

        Args:
            ahead: what is expected.
            tokens: gives the token of each row: [rows] int64 on the model's device, where it is not known yet.
            plain: of each row [V] bool on the CPU, true for plain tokens.

        Returns:
            What was launched; to be told which tokens these were. None if nothing was.
        """


class EagerRunner:
    """Calls the model as it is, for every forward anew.

    Args:
        model: enabled by `hogwild.enable`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    ahead = False

    def run(self, plan: ForwardPlan, rows: Sequence[int]) -> torch.Tensor:
        return packed_forward(self.model, plan, rows)

    def expect(self, integers: Integers) -> None:
        pass

    def launch(
        self, ahead: Ahead, tokens: Callable[[], torch.Tensor], plain: Sequence[torch.Tensor]
    ) -> Flight | None:
        return None


def run_plan(runner: Runner, plan: ForwardPlan | PlanWithGuests, rows: Sequence[int]) -> torch.Tensor:
    """Logits [len(rows), vocab] of some tokens of a plan, as `Runner.run` gives them.

    The parts of a plan with guests are run one after the other. The hosts' is then the very call that it is without
    guests, whatever the model and the runner make of its size; and the guests find the hosts' new keys in every layer.

    Args:
        rows: guests' last.
    """
    if isinstance(plan, ForwardPlan):
        return runner.run(plan, rows)
    hosts, guests = plan.parts
    count = hosts.num_tokens
    of_guests = [row - count for row in rows if row >= count]
    of_hosts = list(rows[: len(rows) - len(of_guests)])
    # without a wish one row's logits are computed for nothing: no model expects none
    logits = runner.run(hosts, of_hosts or hosts.last_rows[:1])[: len(of_hosts)].clone()
    beside = runner.run(guests, of_guests or guests.last_rows[:1])[: len(of_guests)]
    return torch.cat([logits, beside])
