"""What carries a planned forward out: the seam between the scheduling of forwards and the model."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from hogwild.cache import ForwardPlan, Integers, PlanWithGuests
from hogwild.models import packed_forward, why_no_guests

__all__ = ["EagerRunner", "Runner", "hosts_guests"]

_LOG = logging.getLogger(__name__)
_TOLD: weakref.WeakSet[Any] = weakref.WeakSet()  # models


class Runner(Protocol):
    """Runs the model over the tokens of a plan. The engine commits the plan, or rolls it back."""

    @property
    def can_host_guests(self) -> bool:
        """Whether `run` takes a `PlanWithGuests`, and gives the hosts bit for bit what they get without guests.

        What could not, may say so at any time. A session asks when it cuts its feeds into forwards.
        """

    def run(self, plan: ForwardPlan | PlanWithGuests, rows: Sequence[int]) -> torch.Tensor:
        """Write keys and values of the plan's tokens, and give the logits of some of them.

        Args:
            plan: made of token ids, without padding; with guests only where `can_host_guests`.
            rows: packed indices of the tokens whose logits are wanted, at least one, guests' last.

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


class EagerRunner:
    """Calls the model as it is, for every forward anew.

    Args:
        model: enabled by `hogwild.enable`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    ahead = False

    @property
    def can_host_guests(self) -> bool:
        return hosts_guests(self.model)

    def run(self, plan: ForwardPlan | PlanWithGuests, rows: Sequence[int]) -> torch.Tensor:
        return packed_forward(self.model, plan, rows)

    def expect(self, integers: Integers) -> None:
        pass


def hosts_guests(model: Any) -> bool:
    """Whether forwards that call the model as it is can have guests; why not is logged once."""
    reason = why_no_guests(model)
    if reason is not None and model not in _TOLD:
        _TOLD.add(model)
        _LOG.warning("questions take forwards of their own: %s", reason)
    return reason is None
