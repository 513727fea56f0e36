"""Reading a Gemma 3 GGUF file into what transformers loads: a tokenizer, a config, and bf16 weights.

transformers can read such a file by itself, but it parses the vocabulary twice and loses the merges of the
tokenizer. Here the metadata is read once; the merges follow from the vocabulary and its scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader
    from transformers import Gemma3TextConfig, PreTrainedTokenizerFast

# Values of tokenizer.ggml.token_type.
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4

SPACE = "\u2581"  # what stands for " " inside the vocabulary

_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_MODEL_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_ROWS_AT_A_TIME = 16384  # bounds the fp32 copy of the embedding, which has 262,144 rows


def field(reader: GGUFReader, key: str) -> Any:
    """The value of one metadata key: a number, a string, or a list of either."""
    from gguf import GGUFValueType

    entry = reader.fields[key]
    if entry.types[-1] == GGUFValueType.STRING:
        values: list[Any] = [entry.parts[i].tobytes().decode() for i in entry.data]
    else:
        values = [entry.parts[i][0].item() for i in entry.data]
    return values if entry.types[0] == GGUFValueType.ARRAY else values[0]


def find_merges(
    tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]
) -> list[tuple[str, str]]:
    """The byte-pair merges that a scored vocabulary stands for, in the order in which they apply.

    Every split of a token into two tokens is a merge, ranked by the score of the whole, highest first, then
    by ids. Runs of white space are user-defined tokens without a score; their merges come before all others.
    """
    ids = {token: i for i, token in enumerate(tokens)}
    ranked = []
    for whole, (token, score, kind) in enumerate(zip(tokens, scores, types, strict=True)):
        run = kind == USER_DEFINED and len(set(token)) == 1
        if kind != NORMAL and not run:
            continue
        rank = float("-inf") if run else -score
        for cut in range(1, len(token)):
            left, right = ids.get(token[:cut]), ids.get(token[cut:])
            if left is not None and right is not None:
                ranked.append((rank, whole, left, right))
    ranked.sort()
    return [(tokens[left], tokens[right]) for _, _, left, right in ranked]


def build_tokenizer(
    tokens: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    bos: int,
    eos: int,
    unk: int,
    pad: int,
) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer with byte fallback that writes <bos> first by default.

    Args:
        tokens, scores, types: the vocabulary, one entry per id, as the GGUF metadata has it.
        bos, eos, unk, pad: ids of the special tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    # User-defined runs of spaces are stored as real spaces, all other tokens with SPACE for a space.
    tokens = [t.replace(" ", SPACE) if k == USER_DEFINED else t for t, k in zip(tokens, types, strict=True)]
    model = models.BPE(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=find_merges(tokens, scores, types),
        unk_token=tokens[unk],
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == CONTROL)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{tokens[bos]} $A",
        pair=f"{tokens[bos]} $A {tokens[bos]}:1 $B:1",
        special_tokens=[(tokens[bos], bos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[bos],
        eos_token=tokens[eos],
        unk_token=tokens[unk],
        pad_token=tokens[pad],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def read_tokenizer(reader: GGUFReader) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file; its context length is the tokenizer's limit."""
    tokenizer = build_tokenizer(
        tokens=field(reader, "tokenizer.ggml.tokens"),
        scores=field(reader, "tokenizer.ggml.scores"),
        types=field(reader, "tokenizer.ggml.token_type"),
        bos=field(reader, "tokenizer.ggml.bos_token_id"),
        eos=field(reader, "tokenizer.ggml.eos_token_id"),
        unk=field(reader, "tokenizer.ggml.unknown_token_id"),
        pad=field(reader, "tokenizer.ggml.padding_token_id"),
    )
    tokenizer.model_max_length = field(reader, "gemma3.context_length")
    return tokenizer


def read_config(reader: GGUFReader) -> Gemma3TextConfig:
    """The model's config. Every sixth layer attends to everything, the others to a window."""
    from transformers import Gemma3TextConfig

    head_dim = field(reader, "gemma3.attention.key_length")
    layers = field(reader, "gemma3.block_count")
    kinds = ["full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(layers)]
    return Gemma3TextConfig(
        architectures=["Gemma3ForCausalLM"],
        dtype="bfloat16",
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].data),
        hidden_size=field(reader, "gemma3.embedding_length"),
        intermediate_size=field(reader, "gemma3.feed_forward_length"),
        num_hidden_layers=layers,
        num_attention_heads=field(reader, "gemma3.attention.head_count"),
        num_key_value_heads=field(reader, "gemma3.attention.head_count_kv"),
        head_dim=head_dim,
        query_pre_attn_scalar=head_dim,
        max_position_embeddings=field(reader, "gemma3.context_length"),
        rms_norm_eps=field(reader, "gemma3.attention.layer_norm_rms_epsilon"),
        sliding_window=field(reader, "gemma3.attention.sliding_window"),
        layer_types=kinds,
        rope_parameters={
            "full_attention": {
                "rope_type": "default",
                "rope_theta": field(reader, "gemma3.rope.freq_base"),
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        bos_token_id=field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=field(reader, "tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=True,
    )


def parameter_name(tensor: str) -> str:
    """The name that transformers gives to a GGUF tensor: blk.3.attn_q.weight is layer 3's q_proj."""
    stem = tensor.removesuffix(".weight")
    if stem in _MODEL_TENSORS:
        return f"{_MODEL_TENSORS[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{_LAYER_TENSORS[part]}.weight"


def read_weights(
    reader: GGUFReader, progress: Callable[[int, int], None]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Each parameter as (name, bf16 tensor on the CPU); `progress(done, total)` counts parameters."""
    import torch
    from gguf import dequantize

    done, total = 0, sum(int(tensor.n_elements) for tensor in reader.tensors)
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape.tolist())]
        weight = torch.empty(shape, dtype=torch.bfloat16)
        for row in range(0, shape[0], _ROWS_AT_A_TIME):
            rows = slice(row, row + _ROWS_AT_A_TIME)
            values = dequantize(tensor.data[rows], tensor.tensor_type)
            if tensor.name.endswith("norm.weight"):
                values = values - 1.0  # GGUF stores the factor, Gemma's norm adds one to its weight
            weight[rows] = torch.from_numpy(values)
            done += values.size
            progress(done, total)
        yield parameter_name(tensor.name), weight
