"""What a feed wants to know of the model's own distribution, beside a token or instead of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Measures(NamedTuple):
    """See `hogwild.engine.feed.Result` for both fields."""

    probe: tuple[float, ...] | None = None
    entropy: float | None = None


def measure(logits: torch.Tensor, probe: Sequence[Sequence[int]] | None, entropy: bool) -> Measures:
    """Log-probabilities of sets of tokens, and the entropy, of one distribution.

    Args:
        logits: [vocab] fp32, finite or -inf, not all of them -inf.
        probe: sets of token ids, or None. An id that stands in a set twice counts once.
        entropy: whether the entropy is wanted.

    Returns:
        The natural log of each set's probability (-inf where it is 0), and the entropy in nats.
    """
    wanted = []
    normalizer = logits.logsumexp(-1)
    for ids in probe or ():
        places = torch.tensor(sorted(set(ids)), device=logits.device)
        wanted.append(logits[places].logsumexp(-1) - normalizer)
    if entropy:
        logprobs = logits - normalizer
        wanted.append(-(logprobs.exp() * logprobs).nan_to_num(0.0).sum())  # 0 * log 0 is 0
    if not wanted:
        return Measures()
    values = torch.stack(wanted).tolist()  # one copy from the device
    return Measures(
        probe=None if probe is None else tuple(values[: len(probe)]), entropy=values[-1] if entropy else None
    )
