"""A tokenizer of single characters for the tiny models."""

from __future__ import annotations

import string

from tiny_models import VOCAB
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast


def letters_tokenizer() -> PreTrainedTokenizerFast:
    """One token a printable character; pads on the left are `<pad>`, id 0."""
    words = ["<pad>", "<s>", "</s>", *sorted(set(string.printable[:95]) | {"\n"})]
    assert len(words) <= VOCAB
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
