"""Small integers and numbers to the device, in one copy that nobody waits for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from hogwild.cache import to_device

__all__ = ["upload"]


def upload(device: torch.device, numbers: Sequence[float], *integers: Sequence[int]) -> list[torch.Tensor]:
    """Lists to the device together.

    Returns:
        One vector for each list: fp64 for `numbers`, int64 for the others.
    """
    lists = [numbers, *integers]
    if not any(len(part) for part in lists):
        return [
            torch.empty(0, dtype=torch.int64 if i else torch.float64, device=device)
            for i in range(len(lists))
        ]
    together = torch.cat(
        (
            torch.tensor(numbers, dtype=torch.float64).view(torch.int64),
            torch.tensor(list(itertools.chain(*integers)), dtype=torch.int64),
        )
    )
    first, *others = to_device(together, device).split([len(part) for part in lists])
    return [first.view(torch.float64), *others]
