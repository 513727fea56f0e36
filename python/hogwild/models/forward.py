"""One packed forward of an enabled model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from hogwild.cache import ForwardPlan
from hogwild.models.enable import binding_of

__all__ = ["packed_forward"]


def packed_forward(
    model: PreTrainedModel, plan: ForwardPlan, rows: Sequence[int] | None = None
) -> torch.Tensor:
    """Run the tokens of `plan` through an enabled model, all in one batch of one sequence.

    Keys and values are written to the pages that the plan reserved. Committing the plan, or rolling it back
    when something fails, is left to the caller.

    Args:
        model: enabled by `hogwild.enable`.
        plan: made of token ids, without padding.
        rows: packed indices of the tokens whose logits are wanted; default: each row's last token.

    Returns:
        [len(rows), vocab] logits in the model's dtype, on its device.

    Raises:
        BlockError, ContextLengthError, UnsupportedModelError: see `Binding.running`.
        ValueError: tokens that the model does not have, or a plan without token ids.
    """
    binding = binding_of(model)
    device = model.get_input_embeddings().weight.device
    if device.type == "meta":  # weights offloaded by accelerate, which moves the inputs itself
        device = torch.device("cpu")
    if (highest := max(plan.token_ids)) >= binding.config.vocab_size:
        raise ValueError(
            f"plan: it has token {highest}; the model knows 0 to {binding.config.vocab_size - 1}"
        )
    wanted = plan.last_rows if rows is None else list(rows)
    kept: Sequence[int] = wanted
    keep: dict[str, torch.Tensor | int] = {}
    if not binding.keeps_logits:
        kept = range(plan.num_tokens)
    elif _is_spread(model):
        # Indices would be on the model's first device, and the rows to choose from are on its last.
        kept = range(min(wanted, default=plan.num_tokens - 1), plan.num_tokens)
        keep["logits_to_keep"] = len(kept)
    else:
        keep["logits_to_keep"] = torch.tensor(wanted, dtype=torch.int64, device=device)
    with torch.inference_mode(), binding.running(plan):
        output = model(
            input_ids=plan.input_ids.to(device),
            position_ids=plan.position_ids.to(device),
            attention_mask=None,
            past_key_values=None,
            use_cache=False,
            **keep,
        )
    logits: torch.Tensor = output.logits[0]
    if kept is not wanted:
        logits = logits[torch.tensor(wanted, dtype=torch.int64, device=logits.device) - kept[0]]
    return logits


def _is_spread(model: PreTrainedModel) -> bool:
    """Whether accelerate has put parts of the model on several devices."""
    return len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1
