"""Loading by name: local folders, and clear words for what cannot be had."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hogwild.errors import UnknownNameError
from hogwild.models import gemma_gguf
from hogwild.models.loading import ModelLoadError, load


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny bf16 model with a tokenizer of bytes, as a local folder."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [3] * 4 + [6] * 256
    tokenizer = gemma_gguf.build_tokenizer(tokens, [0.0] * 260, types, bos=2, eos=1, unk=3, pad=0)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_local_folder(checkpoint, capfd):
    model, tokenizer = load(checkpoint)
    assert isinstance(model, LlamaForCausalLM) and not model.training
    assert model.dtype == torch.bfloat16  # the checkpoint's own
    assert tokenizer.decode(tokenizer("héllo").input_ids, skip_special_tokens=True) == "héllo"
    assert "Loading weights" not in capfd.readouterr().err


@pytest.mark.parametrize("dtype", ["float32", torch.float16])
def test_dtype_by_name_or_itself(checkpoint, dtype):
    model, _ = load(str(checkpoint), device="cpu", dtype=dtype)
    assert model.dtype == (torch.float32 if dtype == "float32" else torch.float16)
    assert model.device == torch.device("cpu")


def test_device_map_is_left_to_accelerate(checkpoint):
    pytest.importorskip("accelerate")
    model, _ = load(checkpoint, device="auto")
    assert {str(parameter.device) for parameter in model.parameters()} <= {"cpu", "cuda:0"}


def test_device_map_without_accelerate(checkpoint, monkeypatch):
    monkeypatch.setattr("transformers.utils.is_accelerate_available", lambda: False)
    with pytest.raises(ValueError, match="'auto' needs the package accelerate: pip install accelerate"):
        load(checkpoint, device="auto")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"device": "gpu"}, "device: expected a torch device such as cpu or cuda:0.*got 'gpu'"),
        ({"device": "cuda:99"}, "device: got 'cuda:99', but torch sees"),
        ({"dtype": "int8"}, "dtype: expected one of auto, float32, bfloat16, float16; got 'int8'"),
        ({"dtype": torch.int32}, "dtype: expected one of"),
    ],
)
def test_bad_settings(checkpoint, settings, said):
    with pytest.raises(ValueError, match=said):
        load(checkpoint, **settings)


@pytest.mark.parametrize(
    "name, said",
    [
        ("/no/such/folder", "there is no such folder"),
        ("./no-such-folder", "there is no such folder"),
        ("a/b/c", "there is no such folder"),
        ("", "there is no such folder"),
        ("nobody/nothing", "the hub's local cache does not have it, and HF_HUB_OFFLINE is set"),
        ("not a name!", "the hub has none of that name"),
    ],
)
def test_unknown_names_say_what_was_tried(name, said):
    with pytest.raises(UnknownNameError) as caught:
        load(name)
    message = str(caught.value)
    assert said in message and repr(name) in message and 'expected "demo"' in message and "\n" not in message


def test_folder_without_a_model(tmp_path):
    with pytest.raises(UnknownNameError, match=r"the folder has no config\.json"):
        load(tmp_path)


def test_folder_with_a_broken_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "a-model-of-the-future"}')
    with pytest.raises(ModelLoadError, match=r"cannot load model .*a-model-of-the-future") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
