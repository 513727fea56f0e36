"""What a worker must see, by transformers alone: a plain forward over keys that are re-rotated one by one.

Keys and values of everything but the worker's own new tokens are read from the pool after the forward under
test; each key is rotated to its position in the worker's view by the model file's own rotary functions.
"""

from __future__ import annotations

import sys

import torch
from transformers import AttentionInterface, PreTrainedModel

from hogwild.cache import ForwardPlan


def stored(plan: ForwardPlan, block, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of a block, [kv_heads, tokens, dim]."""
    cache, size = plan.pool.layers[layer], plan.pool.page_size
    slots = block.slots(0, len(block))
    return cache.k[slots // size, :, slots % size].transpose(0, 1), cache.v[
        slots // size, :, slots % size
    ].transpose(0, 1)


def rotate(
    model: PreTrainedModel, module: torch.nn.Module, keys: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """keys [heads, n, dim] rotated further by `offset` [n] positions, by transformers."""
    if not getattr(module, "use_rope", True):
        return keys
    rotary = model.model.rotary_emb
    types = getattr(module.config, "layer_types", None)
    per_type = isinstance(getattr(rotary, "rope_type", None), dict)
    extra = (types[module.layer_idx],) if per_type else ()
    cos, sin = rotary(keys, offset[None], *extra)
    scaling = getattr(rotary, f"{extra[0]}_attention_scaling" if per_type else "attention_scaling")
    cos, sin = cos / scaling, sin / scaling
    apply = sys.modules[type(module).__module__].apply_rotary_pos_emb
    tail = getattr(module, "qk_nope_head_dim", 0)  # MLA: only the tail is rotated
    part = keys[None, ..., tail:]
    rotated, _ = apply(part, part, cos, sin)
    return torch.cat((keys[..., :tail], rotated[0]), -1)


class _Explicit:
    """Attention of one worker's new tokens over its whole view."""

    def __init__(self, model: PreTrainedModel, plan: ForwardPlan, row: int) -> None:
        self.model, self.plan, self.view = model, plan, plan.views[row]
        self.count = plan.counts[row]
        self.length = len(self.view)
        self.position = torch.arange(self.length - self.count, self.length)

    def __call__(
        self, module, query, key, value, attention_mask, scaling=None, sliding_window=None, **kwargs
    ):
        keys, values, key_pos, own_index = [], [], [], []
        start = 0
        for block in self.view.blocks:
            k, v = stored(self.plan, block, module.layer_idx)
            old = len(block)
            if block is self.view.write_to:
                old -= self.count
                new_pos = start + torch.arange(old, len(block))
                fresh = rotate(self.model, module, key[0], new_pos - self.position)
                k = torch.cat((rotate(self.model, module, k[:, :old], torch.full((old,), start)), fresh), 1)
                v = torch.cat((v[:, :old], value[0]), 1)
                own_index.append(torch.arange(len(block)))
            else:
                k = rotate(self.model, module, k, torch.full((old,), start))
                own_index.append(torch.full((old,), -1))
            keys.append(k)
            values.append(v)
            key_pos.append(start + torch.arange(len(block)))
            start += len(block)
        pos, own = torch.cat(key_pos), torch.cat(own_index)
        last_own = torch.arange(len(self.view.write_to) - self.count, len(self.view.write_to))
        seen = (pos <= self.position[:, None]) & (own <= last_own[:, None])
        if sliding_window is not None:
            seen &= self.position[:, None] - pos < sliding_window
        mask = torch.where(seen, 0.0, float("-inf")).to(query.dtype)[None, None]
        eager = sys.modules[type(module).__module__].eager_attention_forward
        kwargs.pop("dropout", None)
        return eager(
            module,
            query,
            torch.cat(keys, 1)[None],
            torch.cat(values, 1)[None],
            mask,
            scaling=scaling,
            dropout=0.0,
            **kwargs,
        )


_current: list[_Explicit] = []
AttentionInterface.register("explicit_keys", lambda *args, **kwargs: _current[-1](*args, **kwargs))


def explicit_logits(model: PreTrainedModel, plan: ForwardPlan, row: int, tokens: list[int]) -> torch.Tensor:
    """Logits of the tokens that row `row` of a committed plan fed, [n, vocab]."""
    before = model.config._attn_implementation
    worker = _Explicit(model, plan, row)
    _current.append(worker)
    model.config._attn_implementation = "explicit_keys"
    try:
        with torch.inference_mode():
            return model(
                input_ids=torch.tensor([tokens]),
                position_ids=worker.position[None],
                use_cache=False,
                past_key_values=None,
            ).logits[0]
    finally:
        model.config._attn_implementation = before
        _current.pop()
