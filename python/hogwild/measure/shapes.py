"""The sizes of published models, to measure without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from hogwild.errors import UnknownNameError
from hogwild.models import loading
from hogwild.models.demo import Progress

__all__ = ["SHAPES", "load_or_make", "random_model"]

_QWEN3 = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
}

SHAPES: Mapping[str, Mapping[str, Any]] = {
    "qwen3-0.6b": _QWEN3
    | {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    "qwen3-8b": _QWEN3
    | {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
    },
    "qwen3-32b": _QWEN3
    | {
        "hidden_size": 5120,
        "intermediate_size": 25600,
        "num_hidden_layers": 64,
        "num_attention_heads": 64,
    },
    "qwq-32b": {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 5120,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": False,
    },
    "llama-3.1-8b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
}


def random_model(
    name: str, device: torch.device | str, dtype: torch.dtype = torch.bfloat16, max_length: int | None = None
) -> PreTrainedModel:
    """A model of a published size with random weights, made on the device.

    Args:
        name: one of SHAPES.
        device, dtype: of the weights.
        max_length: positions that the model must have at least.

    Raises:
        UnknownNameError: there is no such shape.
    """
    if name not in SHAPES:
        raise UnknownNameError("shape", name, SHAPES)
    settings = dict(SHAPES[name])
    settings["max_position_embeddings"] = max(settings["max_position_embeddings"], max_length or 0)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def load_or_make(
    name: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    longest: int = 0,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, Any]:
    """A published shape with random weights (in bf16 unless told otherwise) and no tokenizer, or a model by name.

    Args:
        name: one of SHAPES, or what `hogwild.models.loading.load` takes.
        device, dtype, progress: as there.
        longest: longest history that is to be measured; a shape gets as many positions.
    """
    if name not in SHAPES:
        return loading.load(name, device=device, dtype=dtype, progress=progress)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) and dtype != "auto" else dtype
    if chosen in (None, "auto"):
        chosen = torch.bfloat16
    if chosen not in (torch.bfloat16, torch.float16, torch.float32):
        raise ValueError(f"dtype: expected one of auto, float32, bfloat16, float16; got {dtype!r}")
    return random_model(name, device, chosen, max_length=longest + 4096), None
