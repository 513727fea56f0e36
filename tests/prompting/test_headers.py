"""Names, headers, and the tokens of text that goes on after other text."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from fakes import ToyTokenizer
from hogwild.prompting import AfterEncoder, Headers, encode_after, join_names, worker_names


def test_worker_names():
    assert worker_names(1) == ("Alice",)
    assert worker_names(3) == ("Alice", "Bob", "Carol")
    many = worker_names(20)
    assert len(set(many)) == 20 and many[16:] == ("Worker 17", "Worker 18", "Worker 19", "Worker 20")
    assert worker_names(["Ada", "Kurt"]) == ("Ada", "Kurt")


@pytest.mark.parametrize(
    "workers, error, message",
    [
        (0, ValueError, "workers: expected at least 1, got 0"),
        (-2, ValueError, "workers: expected at least 1"),
        (10**26, ValueError, "workers: expected at most 1000, got 1000"),
        (["Ada", "\udcff"], ValueError, "names that are Unicode text"),
        ([], ValueError, "workers: expected at least one name"),
        (["Ada", " "], ValueError, "no empty one"),
        (["Ada", "Ada"], ValueError, "different names"),
        ("Ada", TypeError, "a number or a list of names, got 'Ada'"),
        (True, TypeError, "a number or a list of names, got True"),
        (2.0, TypeError, "a number or a list of names"),
    ],
)
def test_wrong_workers(workers, error, message):
    with pytest.raises(error, match=message):
        worker_names(workers)


def test_join_names():
    assert join_names(["Ada"]) == "Ada"
    assert join_names(["Ada", "Kurt"]) == "Ada and Kurt"
    assert join_names(["Ada", "Kurt", "Emmy"], "or") == "Ada, Kurt or Emmy"


def test_headers():
    headers = Headers()
    assert headers.step("Ada", 3) == "**Ada [3]:**"
    assert headers.section("header_others") == "\n\n### Work in progress (others)"
    assert headers.section("header_own") == " <...>\n\n### Work in progress (own)"
    assert headers.section("header_own", alone=True) == "\n\n### Work in progress (own)"
    with pytest.raises(ValueError, match="got 'footer'"):
        headers.section("footer")


def test_wrong_headers_are_named():
    for name in ("separator", "worker", "past", "others", "own", "unfinished"):
        with pytest.raises(TypeError, match=f"{name}: expected text, got 3"):
            Headers(**{name: 3})
    with pytest.raises(ValueError, match="separator: expected at least one character"):
        Headers(separator="")
    for worker in ("{name}:", "{}", "{worker"):
        with pytest.raises(ValueError, match=r"worker: expected text with the placeholders \{worker\}"):
            Headers(worker=worker)


def test_encode_after_toy_tokenizer():
    tokenizer = ToyTokenizer(["\n\n", ".\n\n"])
    assert tokenizer.decode(encode_after(tokenizer, "\n\n", "**A")) == "**A"
    # "." and "\n\n" melt into one token behind a full stop: the text is then encoded by itself
    assert encode_after(tokenizer, ".", "\n\n") == [tokenizer.id("\n\n")]


class BlankFirst:
    """A tokenizer that puts a blank before what it encodes, and drops the first blank of what it decodes."""

    def __init__(self):
        vocab = {"<unk>": 0, "▁": 1, "\n": 2, "*": 3, "A": 4, "▁A": 5}
        self.backend_tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("▁", "A")], unk_token="<unk>"))
        self.backend_tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        self.backend_tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )

    def encode(self, text, add_special_tokens=True):
        return self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, skip_special_tokens=False):
        return self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


def test_encode_after_leaves_out_the_blank_that_a_tokenizer_adds():
    tokenizer = BlankFirst()
    assert tokenizer.encode("**A") == [1, 3, 3, 4]
    assert encode_after(tokenizer, "\n\n", "**A") == [3, 3, 4]


def test_encode_after_refuses_what_cannot_be_written():
    with pytest.raises(ValueError, match="cannot write 'XYZ'"):
        encode_after(BlankFirst(), "", "XYZ")


class Counting(BlankFirst):
    """Keeps what it was asked to encode."""

    def __init__(self):
        super().__init__()
        self.encoded = []

    def encode(self, text, add_special_tokens=True):
        self.encoded.append(text)
        return super().encode(text, add_special_tokens)


def test_an_encoder_encodes_short_texts_once_and_of_long_ones_the_end():
    tokenizer = Counting()
    after = AfterEncoder(tokenizer)
    first = after.encode("\n\n", "**A")
    first.append(7)  # it is the caller's own
    assert after.encode("\n\n", "**A") == [3, 3, 4]
    assert tokenizer.encoded == ["\n\n", "\n\n**A"]
    assert after.encode("A" * 10_000 + "\n", "**A") == [3, 3, 4]
    assert max(map(len, tokenizer.encoded)) < 100
    for count in range(1000):
        after.encode("\n" * (count % 40) + "*" * (count // 40), "A")
    tokenizer.encoded.clear()
    assert after.encode("\n\n", "**A") == [3, 3, 4]
    assert tokenizer.encoded == ["\n\n", "\n\n**A"]  # it remembers only so many


def test_encoders_see_a_tokenizer_as_it_is_when_they_are_made():
    tokenizer = BlankFirst()
    assert AfterEncoder(tokenizer).encode("\n", "A*") == [4, 3]
    tokenizer.backend_tokenizer.add_tokens([AddedToken("A*", normalized=False)])
    assert AfterEncoder(tokenizer).encode("\n", "A*") == [6]
