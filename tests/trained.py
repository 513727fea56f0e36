"""Tokenizers as models have them, trained on the spot: long pieces, blanks inside of them, bytes."""

from __future__ import annotations

import json
import string

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = "Solve it.\n\n### Past steps"
CORPUS = [
    "We add.\n\nThen we take two: one.\n\nNo!\n\nIs it so?\n\nYes, it is so.\n\n\n```\nx = 1\n\n```\n\nSo, done.\n\n",
    f"{TEXT}\n\n### Work in progress (others) <...>\n\n### Work in progress (own)\n\n",
    "**Alice [1]:** **Bob [2]:** **Carol [3]:** **Dave [4]:** **Eve [5]:** **Frank [67890]:** we add. And so on.",
]
SIZE = 320  # tokens: all bytes and some longer pieces


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen: words with the blank before them; ".\n\n" may be one token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*| ?\p{L}+|\s*[\r\n]+|\s+"), "isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet, special_tokens=["</s>"])
    backend.train_from_iterator(CORPUS * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def sentence_pieces() -> PreTrainedTokenizerFast:
    """As Llama 2: a mark for blanks, one put before every text, and bytes for what is missing, as line breaks are."""
    marks = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = marks
    letters = [character for character in string.printable if not character.isspace()]
    trainer = trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=letters, max_token_length=4)
    learner.train_from_iterator([line for text in CORPUS for line in text.split("\n")] * 4, trainer)
    learned = json.loads(learner.to_str())["model"]
    vocab = dict(learned["vocab"])
    for token in ("</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))):
        vocab[token] = len(vocab)
    merges = [tuple(merge) for merge in learned["merges"]]
    backend = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = marks
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {"byte-level": byte_level, "sentence pieces": sentence_pieces}
