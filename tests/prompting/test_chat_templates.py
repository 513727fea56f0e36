"""Prompts through transformers' own rendering of chat templates, as the families' models have them."""

from __future__ import annotations

import string

import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from hogwild.prompting import collaboration_prompt, family_for, load_family, solo_prompt

TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
START = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
OPENED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
# takes no system turn, and writes its own beginning of a text
STRICT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}"
    "{% endif %}{{ '<start_of_turn>' + m.role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{{ '<start_of_turn>model\n' }}"
)


def tokenizer_with(template: str | None, name: str) -> PreTrainedTokenizerFast:
    """One token a character, special tokens by name, and a beginning that `encode` adds by itself."""
    special = ["<s>", "</think>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
    words = [*special, *sorted({*string.printable[:95], "\n"})]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    backend.pre_tokenizer = Split(Regex("[\\s\\S]"), "isolated")
    backend.decoder = Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", additional_special_tokens=special[1:]
    )
    tokenizer.chat_template, tokenizer.name_or_path = template, name
    return tokenizer


@pytest.mark.parametrize(
    "name, template", [("Qwen/Qwen3-8B", TURNS + START), ("Qwen/QwQ-32B", TURNS + OPENED)]
)
def test_reasoning_models(name, template):
    tokenizer = tokenizer_with(template, name)
    text = tokenizer.decode(collaboration_prompt("Add.", ["Alice", "Bob"], "combined", tokenizer))
    system, user, start = text.split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\n# Working together")
    assert user == "<|im_start|>user\n# The problem\n\nAdd."
    assert start == "<|im_start|>assistant\n<think>\n### Past steps"
    solo = tokenizer.decode(solo_prompt("Add.", tokenizer))
    assert solo.startswith("<|im_start|>user\nAdd.") and solo.endswith("assistant\n<think>\n")
    forbidden = family_for(tokenizer).forbidden_ids(tokenizer)
    assert tokenizer.convert_ids_to_tokens(list(forbidden)) == ["</think>", "<|im_start|>"]


def test_models_without_a_system_turn():
    tokenizer = tokenizer_with(STRICT, "google/gemma-3-4b-it")
    text = tokenizer.decode(collaboration_prompt("Add.", ["Alice", "Bob"], "interleaved", tokenizer))
    assert text.startswith("<s><start_of_turn>user\n# Working together") and text.count("<s>") == 1
    assert text.endswith("# The problem\n\nAdd.<end_of_turn>\n<start_of_turn>model\n### Past steps")
    with pytest.raises(ValueError, match=r"family: 'qwen3' needs turns of system and user, .*no system turn"):
        collaboration_prompt("Add.", ["Alice", "Bob"], "combined", tokenizer, load_family("qwen3"))


def test_a_tokenizer_without_a_template_needs_another_family():
    tokenizer = tokenizer_with(None, "Qwen/Qwen3-8B-Base")
    assert family_for(tokenizer).name == "generic"
    with pytest.raises(ValueError, match="family: 'qwen3' is for models with a chat template, and the tok"):
        solo_prompt("Add.", tokenizer, load_family("qwen3"))
