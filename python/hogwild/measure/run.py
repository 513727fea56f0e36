"""A whole measurement: a model, and all cases of workers and contexts that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from transformers import PreTrainedModel

from hogwild.cache import Pool
from hogwild.engine import EngineCore
from hogwild.engine.graphs import make_runner
from hogwild.measure.decode import DecodeTime, measure_decode, tell_kernels_apart, tokens_needed
from hogwild.models import enable, text_config

__all__ = ["bytes_per_token", "measure_all"]

_SPARE = 2 << 30  # bytes that are left to activations, graphs and libraries on a GPU


def bytes_per_token(model: PreTrainedModel) -> int:
    """Bytes of keys and values that one token takes in all layers."""
    config = text_config(model)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * model.dtype.itemsize


def measure_all(
    model: PreTrainedModel,
    tokenizer: Any,
    workers: Sequence[int],
    contexts: Sequence[int],
    *,
    sessions: Sequence[int] = (1,),
    forwards: int = 50,
    compile: str | None = None,
    skipped: Callable[[str], None] = print,
    told: Callable[[DecodeTime], None] = lambda time: None,
    timed: Callable[[list[DecodeTime]], None] = lambda times: None,
) -> list[DecodeTime]:
    """Measure all cases as `measure_decode` does, then tell kernels apart.

    Args:
        model: loaded; it is enabled for views of the longest context.
        tokenizer: its tokenizer, or None.
        workers, contexts, sessions: every one with every other is a case; sessions are teams that decode together.
        forwards: how many are timed.
        compile: see `hogwild.engine.graphs.make_runner`.
        skipped: is told of contexts that do not fit, and why.
        told: of each case as soon as it is measured, before its kernels are told apart.
        timed: is given all cases before kernels are told apart, which makes all that is timed later slower.
    """
    positions = getattr(text_config(model), "max_position_embeddings", None)
    room = _free_bytes(model) // bytes_per_token(model)
    fitting = []
    for context in sorted(contexts):
        needed = tokens_needed(max(workers), context, forwards, max(sessions))
        if positions is not None and context + 2 * (forwards + 64) * max(workers) > positions:
            skipped(f"context {context:,}: the model has {positions:,} positions")
        elif needed > room:
            skipped(
                f"context {context:,}: {needed:,} tokens of keys and values, and there is room for {room:,}"
            )
        else:
            fitting.append((context, needed))
    if not fitting:
        return []
    enable(model)
    engine = EngineCore(
        model,
        tokenizer,
        Pool(max_tokens=fitting[-1][1]),
        max_forward_tokens=1 << 20,
        runner=make_runner(model, compile),
    )
    times = []
    for teams, (context, _), count in product(sessions, fitting, workers):
        times.append(measure_decode(engine, count, context, forwards, teams))
        told(times[-1])
    timed(times)
    return [tell_kernels_apart(engine, measured) for measured in times]


def _free_bytes(model: PreTrainedModel) -> int:
    if model.device.type != "cuda":
        return 1 << 40  # the operating system decides
    free, _ = torch.cuda.mem_get_info(model.device)
    cached = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return max(free + cached - _SPARE, 0)
