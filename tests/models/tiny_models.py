"""Tiny random models of every supported family, large enough in weights that attention decides the logits."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCAB = 101
_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _rope(**parameters: object) -> dict:
    return {"rope_parameters": {"rope_theta": 10000.0} | parameters}


_MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
_SLIDING = {"sliding_window": 7}
# Tied to random embeddings that the model scales up, the likeliest token would always be the one just read.
_UNTIED = {"tie_word_embeddings": False}

# name -> (model type, settings beyond the common ones)
FAMILIES: dict[str, tuple[str, dict]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "qwen3_moe": ("qwen3_moe", {"head_dim": 16, "num_experts": 4, "decoder_sparse_step": 1} | _MOE),
    "phi3": ("phi3", {"partial_rotary_factor": 0.5, "original_max_position_embeddings": 512}),
    "mistral": ("mistral", {"head_dim": 16} | _SLIDING),
    "gemma2": (
        "gemma2",
        {"head_dim": 16, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 2.0} | _SLIDING | _UNTIED,
    ),
    "gemma3_text": (
        "gemma3_text",
        {
            "num_hidden_layers": 4,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        }
        | _SLIDING
        | _UNTIED,
    ),
    "olmo2": ("olmo2", {}),
    "granite": ("granite", {"attention_multiplier": 0.25, "residual_multiplier": 0.8, "logits_scaling": 2.0}),
    "smollm3": (
        "smollm3",
        {"num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 1], "use_sliding_window": False},
    ),
    "glm4": ("glm4", {"head_dim": 16, "partial_rotary_factor": 0.5}),
    "cohere": ("cohere", {"use_qk_norm": True}),
    "deepseek_v3": (
        "deepseek_v3",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 16,
            "v_head_dim": 20,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        }
        | _MOE,
    ),
    "gpt_oss": (
        "gpt_oss",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "layer_types": ["sliding_attention", "full_attention"],
        }
        | _SLIDING,
    ),
    "llama+llama3": (
        "llama",
        _rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "qwen3+yarn": (
        "qwen3",
        {"head_dim": 32} | _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=32),
    ),
}


def tiny_model(name: str, dtype: torch.dtype = torch.float32, **changes: object) -> PreTrainedModel:
    """A random model of family `name` (a key of FAMILIES, or any model type), the same weights every time."""
    model_type, settings = FAMILIES.get(name, (name, {}))
    config = AutoConfig.for_model(model_type, **(_COMMON | settings | changes))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    embedding = model.get_input_embeddings()
    scaled = hasattr(embedding, "embed_scale") or model_type == "gemma2"  # by the root of the hidden size
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                plain = parameter is embedding.weight and not scaled
                std = 1.0 if plain else 2.0 / parameter.shape[-1] ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
            elif "sink" in parameter_name or "bias" in parameter_name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.to(dtype)


def random_ids(count: int, generator: torch.Generator) -> list[int]:
    """Ordinary token ids: none of the special ones."""
    return torch.randint(3, VOCAB, (count,), generator=generator).tolist()


class _Counted(torch.nn.Module):
    """Gives another result for another number of rows, as products may."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x) + x.shape[1] / 64


def count_rows(model):
    """The model, whose results now depend on how many rows are computed at once."""
    for layer in model.model.layers:
        layer.mlp = _Counted(layer.mlp)
    return model
