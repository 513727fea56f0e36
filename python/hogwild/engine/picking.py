"""One token for each line of logits, as tensor operations without a wait: what Hugging Face's processors do.

Every function works on [n, vocab] logits in fp32 (`narrow` in any dtype) and per-line settings of shape [n, 1], on one
device. Shapes of results depend on shapes of arguments alone, so all of them can be captured into a CUDA graph.
"""

from __future__ import annotations

import math

import torch

__all__ = ["draw", "keep_top", "log_probability", "narrow", "penalize"]


def penalize(logits: torch.Tensor, seen: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """Repetition penalty: logits of the tokens in `seen` divided by `penalty`, those below zero multiplied.

    Args:
        logits: [n, vocab].
        seen: [n, any] int64 token ids; more than once is as good as once.
        penalty: [n, 1].
    """
    values = logits.gather(-1, seen)
    return logits.scatter(-1, seen, torch.where(values < 0, values * penalty, values / penalty))


def narrow(logits: torch.Tensor, top_k: torch.Tensor, width: int) -> tuple[torch.Tensor, ...]:
    """The candidates of top-k, so that nothing behind it has to look at the whole vocabulary.

    Args:
        logits: [n, vocab].
        top_k: [n, 1] int64, 1 to `width`.
        width: candidates that are looked at, at most `vocab`. More than top-k, because tokens that tie with the
            last of the top k are kept as well.

    Returns:
        [n, width] logits in descending order, -inf where not kept; [n, width] their token ids; [n] bool, whether
        more tokens may be kept than were looked at, so that the line must be picked from all of them.
    """
    values, ids = logits.topk(width, dim=-1)
    last = values.gather(-1, top_k - 1)
    overflow = (values[:, -1:] >= last) & (last > -math.inf)
    if width == logits.shape[-1]:
        overflow = torch.zeros_like(overflow)
    return values.masked_fill(values < last, -math.inf), ids, overflow[:, 0]


def keep_top(
    logits: torch.Tensor,
    top_k: torch.Tensor | None = None,
    top_p: torch.Tensor | None = None,
    min_p: torch.Tensor | None = None,
    descending: bool = False,
    largest_k: int = 0,
) -> torch.Tensor:
    """Logits with -inf for all that top-k, top-p and min-p leave out, in this order.

    Args:
        logits: [n, candidates].
        top_k: [n, 1] int64, 1 to `largest_k`; None: all lines keep all.
        top_p, min_p: [n, 1] fp32; a line of top_p 1 or min_p 0 keeps all, None: all lines do.
        descending: the logits are sorted already, largest first.
        largest_k: at least as much as all of `top_k`.
    """
    if top_k is not None:
        last = logits.topk(largest_k, dim=-1).values.gather(-1, top_k - 1)
        logits = logits.masked_fill(logits < last, -math.inf)
    if top_p is not None:
        # As in Hugging Face: summed from the least likely on, so that rounding is the same.
        ascending, order = (logits.flip(-1), None) if descending else logits.sort(dim=-1)
        remove = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
        remove[:, -1:] = False
        remove = remove.flip(-1) if order is None else remove.scatter(-1, order, remove)
        logits = logits.masked_fill(remove, -math.inf)
    if min_p is not None:
        probability = logits.softmax(-1)
        logits = logits.masked_fill(probability < min_p * probability.amax(-1, keepdim=True), -math.inf)
    return logits


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw by inverting the cumulative distribution in fp64: one random number a line and the cost of one pass.

    Args:
        logits: [n, candidates], in the order of token ids, so that the same number draws the same token.
        uniform: [n, 1] fp64 in [0, 1).

    Returns:
        [n, 1] int64 indices into the candidates; [n] bool, False where no candidate has a finite logit.
    """
    cumulative = logits.softmax(-1).double().cumsum(-1)
    total = cumulative[:, -1:]
    # Below the total whatever the rounding, so that what is behind the last probability is never drawn.
    level = torch.minimum(total * uniform, torch.nextafter(total, torch.zeros_like(total)))
    place = torch.searchsorted(cumulative, level, right=True)
    return place.clamp_(max=logits.shape[-1] - 1), total[:, 0].isfinite()


def log_probability(logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """[n] natural log of the probability of candidate `index` ([n, 1]) under `logits`."""
    # From the largest on: logits over a small temperature are so large that little of their differences is left.
    logits = logits - logits.amax(-1, keepdim=True)
    return (logits.gather(-1, index) - logits.logsumexp(-1, keepdim=True))[:, 0]
