"""Loading a model and its tokenizer by name: the demo model, a Hugging Face id, or a local folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogwild.errors import HogwildError, UnknownNameError
from hogwild.models import demo

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DEMO", "DEVICE_MAPS", "ModelLoadError", "load"]

DEMO = "demo"

_EXPECTED = f'expected "{DEMO}", a Hugging Face id such as Qwen/Qwen3-0.6B, or a local folder'
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")  # of accelerate; `device` may name one

# Names of the errors found along the chain of causes; the hub's own classes move between its versions.
_NOT_FOUND = {"RepositoryNotFoundError", "HFValidationError"}
_GATED = {"GatedRepoError"}
_UNREACHABLE = {
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ProxyError",
    "ReadTimeout",
}


class ModelLoadError(HogwildError):
    """A model of that name exists but could not be loaded; the message says why."""


def load(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    progress: demo.Progress | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a model, ready for inference, and its tokenizer.

    Args:
        name_or_path: ``"demo"`` (Gemma 3 270M, see `hogwild.models.demo`), a Hugging Face id, or a local
            folder.
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
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"name_or_path: expected a name or a path, got {name_or_path!r}")
    name = os.fspath(name_or_path)
    placement = _placement(device)
    chosen_dtype = _dtype(dtype)
    source = demo.prepare(progress) if name == DEMO else _source(name)

    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    kwargs: dict[str, Any] = {"dtype": chosen_dtype}
    if isinstance(placement, str):
        kwargs["device_map"] = placement
    try:
        with _quietly():
            config = AutoConfig.from_pretrained(source)  # first: the quickest way to learn of a wrong name
            if source == demo.folder():
                tokenizer: PreTrainedTokenizerBase = demo.load_tokenizer(demo.folder())
            else:
                tokenizer = AutoTokenizer.from_pretrained(source, config=config)
            model = AutoModelForCausalLM.from_pretrained(source, config=config, **kwargs)
    except (OSError, ValueError, ImportError) as error:
        raise _explain(name, error) from error
    if not isinstance(placement, str):
        model = model.to(placement)
    return model.eval(), tokenizer


def _placement(device: str | torch.device | None) -> torch.device | str:
    """A torch device, or the name of a device map."""
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device in DEVICE_MAPS:
        from transformers.utils import is_accelerate_available

        if not is_accelerate_available():
            raise ValueError(f"device {device!r} needs the package accelerate: pip install accelerate")
        return str(device)
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device: expected a torch device such as cpu or cuda:0, or one of {', '.join(DEVICE_MAPS)}; "
            f"got {device!r}"
        ) from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: got {device!r}, but torch sees {torch.cuda.device_count()} CUDA devices")
    return chosen


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | str:
    """A floating dtype, or "auto" for the checkpoint's own."""
    import torch

    if dtype is None or dtype == "auto":
        return "auto"
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    chosen = known.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in known.values():
        raise ValueError(f"dtype: expected one of auto, {', '.join(known)}; got {dtype!r}")
    return chosen


def _source(name: str) -> Path | str:
    """A local folder, or a name for the hub. What can only be a path must exist."""
    path = Path(name).expanduser()
    if name.strip() and path.is_dir():
        if not (path / "config.json").is_file():
            raise UnknownNameError("model", name, hint="the folder has no config.json")
        return path
    if not name.strip() or name.startswith((".", "~")) or path.is_absolute() or len(path.parts) > 2:
        raise UnknownNameError("model", name, hint=f"there is no such folder; {_EXPECTED}")
    return name


def _explain(name: str, error: Exception) -> HogwildError:
    """What went wrong in one sentence, from the chain of causes that transformers and the hub leave."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    kinds = set(_names_of_causes(error))
    is_local = name == DEMO or Path(name).expanduser().is_dir()
    if is_local or not kinds & (_NOT_FOUND | _GATED | _UNREACHABLE):
        return ModelLoadError(f"cannot load model {name!r}: {_first_line(error)}")
    if kinds & _GATED:
        return ModelLoadError(f"model {name!r} is gated: accept its licence on the hub, then: hf auth login")
    if kinds & _NOT_FOUND:
        reason = "the hub has none of that name (or it is private: hf auth login)"
    elif HF_HUB_OFFLINE:
        reason = "the hub's local cache does not have it, and HF_HUB_OFFLINE is set"
    else:
        reason = "the hub's local cache does not have it, and the hub cannot be reached"
    return UnknownNameError("model", name, hint=f"there is no such folder, and {reason}; {_EXPECTED}")


def _names_of_causes(error: BaseException) -> Iterator[str]:
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield type(cause).__name__
        cause = cause.__cause__ or cause.__context__


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without bars that the caller did not ask for, and without a line for each attempt to reach the hub."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    had_bars, verbosity = logging.is_progress_bar_enabled(), hub_logging.get_verbosity()
    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
