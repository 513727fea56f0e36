"""Loading a model and its tokenizer by name: the demo model, a Hugging Face id, or a local folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogwild.errors import HogwildError, UnknownNameError
from hogwild.models import demo

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ModelLoadError", "load"]

DEMO = "demo"


class ModelLoadError(HogwildError):
    """A model exists under that name but could not be loaded; the message says why."""


def load(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    progress: demo.Progress | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a model, ready for inference, and its tokenizer.

    Args:
        name_or_path: ``"demo"`` (Gemma 3 270M, see `hogwild.models.demo`), a Hugging Face id, or a local folder.
        device: a torch device such as ``"cuda:1"``, or a `device_map` of accelerate such as ``"auto"``; by
            default CUDA if there is any, else the CPU.
        dtype: a torch dtype or its name, such as ``"float32"``; by default the checkpoint's own.
        progress: called as ``progress(stage, done, total)`` while the demo model is converted.

    Raises:
        UnknownNameError: no such folder, and no such model in the hub or in its local cache.
        ModelLoadError: the model is there but cannot be loaded.
        DemoModelError: the demo model's packages are missing or damaged.
        ValueError: an unknown device or dtype.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = os.fspath(name_or_path)
    placement = _placement(device)
    kwargs: dict[str, Any] = {"dtype": _dtype(dtype)}
    if isinstance(placement, str):
        kwargs["device_map"] = placement
    source = str(demo.prepare(progress)) if name == DEMO else _existing(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, **kwargs)
    except (OSError, ValueError, ImportError) as error:
        raise _explain(name, error) from error
    if not isinstance(placement, str):
        model = model.to(placement)
    return model.eval(), tokenizer


def _placement(device: str | torch.device | None) -> torch.device | str:
    """A torch device, or the name of an accelerate device map."""
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(device, str) and device in _DEVICE_MAPS:
        if not _has_accelerate():
            raise ValueError(f"device {device!r} needs the package accelerate: pip install accelerate")
        return device
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device: expected a torch device such as 'cpu' or 'cuda:0', or one of "
            f"{', '.join(_DEVICE_MAPS)}, got {device!r}"
        ) from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device: {device} asked for, but torch sees {torch.cuda.device_count()} CUDA devices"
        )
    return chosen


_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


def _has_accelerate() -> bool:
    from transformers.utils import is_accelerate_available

    return bool(is_accelerate_available())


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | str:
    import torch

    if dtype is None or dtype == "auto":
        return "auto"
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    known |= {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    chosen = known.get(dtype) if isinstance(dtype, str) else dtype
    if chosen not in known.values():
        raise ValueError(f"dtype: expected one of auto, {', '.join(known)}, got {dtype!r}")
    return chosen


def _existing(name: str) -> str:
    """The name, unless it can only be a path and nothing is there."""
    looks_like_path = (
        name.startswith((".", "/", "~")) or name.count("/") > 1 or os.sep in name.rstrip("/")[:1]
    )
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UnknownNameError("model", name, hint="the folder has no config.json")
        return str(path)
    if looks_like_path or not name.strip():
        raise UnknownNameError("model", name, hint=f"no such folder; {_EXPECTED}")
    return name


_EXPECTED = 'expected "demo", a Hugging Face id such as Qwen/Qwen3-0.6B, or a local folder'


def _explain(name: str, error: Exception) -> HogwildError:
    """One sentence for what went wrong, from the chain of causes that transformers and the hub leave."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    kinds = {type(c).__name__ for c in causes}
    is_local = Path(name).expanduser().is_dir() or name == DEMO
    if not is_local and kinds & _NOT_FOUND:
        reason = "the hub has no model of that name, or it is private (log in with: hf auth login)"
    elif not is_local and kinds & _GATED:
        reason = "the model is gated: accept its licence on the hub and log in with: hf auth login"
    elif not is_local and (kinds & _OFFLINE or _offline_by_choice()):
        why = "HF_HUB_OFFLINE is set" if _offline_by_choice() else "the hub cannot be reached"
        reason = f"it is not in the local cache of the hub, and {why}"
    else:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return ModelLoadError(f"cannot load model {name!r}: {first_line}")
    return UnknownNameError(
        "model", name, hint=f"tried a local folder and the Hugging Face hub: {reason}; {_EXPECTED}"
    )


_NOT_FOUND = {"RepositoryNotFoundError", "HFValidationError", "RevisionNotFoundError"}
_GATED = {"GatedRepoError"}
_OFFLINE = {
    "ConnectError", "ConnectionError", "ConnectTimeout", "LocalEntryNotFoundError", "OfflineModeIsEnabled",
    "ProxyError", "ReadTimeout",
}  # fmt: skip


def _offline_by_choice() -> bool:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    return bool(HF_HUB_OFFLINE)
