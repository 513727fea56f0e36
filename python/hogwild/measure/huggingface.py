"""The same number of sequences decoded by transformers alone, each with a cache of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from transformers import DynamicCache, PreTrainedModel, StaticCache

from hogwild.models import text_config

__all__ = ["compiled_us", "eager_us"]


def eager_us(model: PreTrainedModel, sequences: int, context: int, forwards: int = 5) -> float:
    """Median microseconds of a decode forward with a dynamic cache."""
    cache = DynamicCache(config=model.config)
    for layer in range(text_config(model).num_hidden_layers):
        cache.update(*_random_states(model, sequences, context), layer)
    ids = torch.ones(sequences, 1, dtype=torch.int64, device=model.device)

    def forward() -> torch.Tensor:
        return model(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1)

    return _median_us(forward, forwards, warm_ups=2)


def compiled_us(model: PreTrainedModel, sequences: int, context: int, forwards: int = 20) -> float:
    """Median microseconds of a decode forward with a static cache, compiled and captured as transformers does."""
    config = text_config(model)
    keys, _ = _random_states(model, sequences, 1)
    cache = StaticCache(config=model.config, max_cache_len=context + forwards + 8)
    cache.early_initialization(sequences, keys.shape[1], keys.shape[3], keys.dtype, keys.device)
    for layer in cache.layers[: config.num_hidden_layers]:
        layer.keys.normal_()
        layer.values.normal_()
    ids = torch.ones(sequences, 1, dtype=torch.int64, device=model.device)
    positions = torch.full_like(ids, context)
    compiled = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True, dynamic=False)

    def forward() -> torch.Tensor:
        output = compiled(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
        return output.logits[:, -1].argmax(-1)

    return _median_us(forward, forwards, warm_ups=4)


def _random_states(model: PreTrainedModel, sequences: int, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    config = text_config(model)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (sequences, config.num_key_value_heads, context, head_dim)
    keys, values = (torch.randn(shape, dtype=model.dtype, device=model.device) for _ in range(2))
    return keys, values


def _median_us(forward: Callable[[], torch.Tensor], count: int, warm_ups: int) -> float:
    seconds = []
    with torch.no_grad():
        for index in range(warm_ups + count):
            began = time.perf_counter()
            forward().tolist()  # waits, as whoever wants the tokens must
            if index >= warm_ups:
                seconds.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds)
