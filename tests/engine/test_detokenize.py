"""Text from tokens one at a time: joined it is what decoding all of them gives, in whole characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fakes import ToyTokenizer
from hogwild.engine.detokenize import Detokenizer

TEXTS = ["Hello world", " and more", "é", "😀 is here", "\n\n**Alice [1]:** Hi", "  two  blanks ", "日本"]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\N{REPLACEMENT CHARACTER}")


def byte_level():
    """As in GPT-2, Llama 3 and Qwen: a token is a run of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: index for index, letter in enumerate(["<eos>", *alphabet, "ĠĠ", "He", "ll", "Hell"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("Ġ", "Ġ"), ("H", "e"), ("l", "l"), ("He", "ll")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def byte_fallback():
    """As in Llama 2 and Mistral: words carry their blank, the rest is bytes, the first blank goes."""
    words = ["<eos>", "<unk>", "▁", "▁Hello", "▁world", "▁and", "▁more", "H", "e", "\n", "*", "▁is", "▁here"]
    vocab = {word: index for index, word in enumerate(words)}
    vocab |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


class Slow:
    """The same tokenizer without the library's native decoder."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=False):
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


TOKENIZERS = {"byte level": byte_level(), "byte fallback": byte_fallback()}
KINDS = [*TOKENIZERS, *(f"slow {name}" for name in TOKENIZERS)]


def get(kind):
    name = kind.removeprefix("slow ")
    return TOKENIZERS[name] if name == kind else Slow(TOKENIZERS[name])


@pytest.mark.parametrize("kind", ["byte level", "slow byte level"])
@given(ids=st.lists(st.integers(0, 259), max_size=30))
def test_any_bytes_join_to_their_text(kind, ids):
    tokenizer = get(kind)
    detokenizer = Detokenizer(tokenizer)
    text = "".join(detokenizer.push(token) for token in ids)
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    assert whole.startswith(text)
    # held back is at most what is not a whole character yet
    assert set(whole[len(text) :]) <= {"\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize("kind", ["byte fallback", "slow byte fallback"])
@given(parts=st.lists(st.integers(2, 12) | CHARACTERS, max_size=20))
def test_words_and_bytes_join_to_their_text(kind, parts):
    # A broken character would turn the whole run of bytes around it into replacement characters, also when
    # all is decoded at once; so only whole ones here.
    ids = []
    for part in parts:
        ids += [part] if isinstance(part, int) else [13 + byte for byte in part.encode()]
    detokenizer = Detokenizer(get(kind))
    pieces = [detokenizer.push(token) for token in ids]
    assert "".join(pieces) == get(kind).decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["byte fallback", "slow byte fallback"])
@given(
    ids=st.lists(st.integers(0, 268), max_size=30), later=st.lists(st.integers(3, 8), min_size=1, max_size=5)
)
def test_any_bytes_never_stop_the_words_after_them(kind, ids, later):
    detokenizer = Detokenizer(get(kind))
    garbled = "".join(detokenizer.push(token) for token in ids)
    # One word to end the run of bytes; what follows is as if nothing had been before.
    garbled += detokenizer.push(7)
    assert garbled.endswith("H")
    words = {3: " Hello", 4: " world", 5: " and", 6: " more", 7: "H", 8: "e"}
    assert [detokenizer.push(token) for token in later] == [words[token] for token in later]
    if all(token < 13 for token in ids):
        assert garbled == get(kind).decode([*ids, 7], skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["byte fallback", "slow byte fallback"])
def test_a_broken_character_after_a_whole_one(kind):
    detokenizer = Detokenizer(get(kind))
    ids = [13 + 0x07, 13 + 0xCC, 7, 3, *(13 + byte for byte in "é".encode()), 13 + 0xCC, 4, 4]
    assert [detokenizer.push(token) for token in ids] == [
        *("\x07", "", "\N{REPLACEMENT CHARACTER}H", " Hello"),
        *("", "é", "", "\N{REPLACEMENT CHARACTER} world", " world"),
    ]


@pytest.mark.parametrize("kind", ["byte level", "slow byte level"])
@given(parts=st.lists(st.sampled_from(TEXTS) | st.text(max_size=5), max_size=5))
def test_text_comes_out_whole_and_in_whole_characters(kind, parts):
    tokenizer = TOKENIZERS["byte level"]
    text = "".join(parts).replace("\N{REPLACEMENT CHARACTER}", "")
    detokenizer = Detokenizer(get(kind))
    pieces = [detokenizer.push(token) for token in tokenizer.encode(text, add_special_tokens=False)]
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@pytest.mark.parametrize("kind", ["byte level", "slow byte level"])
def test_a_character_comes_with_the_last_of_its_tokens(kind):
    detokenizer = Detokenizer(get(kind))
    ids = TOKENIZERS["byte level"].encode("😀", add_special_tokens=False)
    assert len(ids) == 4
    assert [detokenizer.push(token) for token in ids] == ["", "", "", "😀"]


@pytest.mark.parametrize("kind", ["byte fallback", "slow byte fallback"])
def test_blanks_in_the_middle_stay(kind):
    detokenizer = Detokenizer(get(kind))
    assert [detokenizer.push(token) for token in (3, 4, 4, 9, 5)] == [
        "Hello",
        " world",
        " world",
        "\n",
        " and",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_no_text(kind):
    detokenizer = Detokenizer(get(kind))
    first = 257 if "level" in kind else 3
    assert detokenizer.push(first) != ""
    assert detokenizer.push(0) == ""


def test_tokenizers_without_a_native_decoder():
    tokenizer = ToyTokenizer(["\n\n", "ab"])
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.push(t) for t in tokenizer.encode("ab\n\nc")] == ["ab", "\n\n", "c"]
