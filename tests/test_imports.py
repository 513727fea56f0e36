"""Imports point one way (docs/architecture.md). Read from the source: nothing needs to be installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "python" / "hogwild"

# The parts, from the bottom up: a part imports from itself, from those below it and from nothing above.
ORDER = ["words", "hogwild_cuda", "cache", "models", "engine", "protocols", "tops", "cli"]
PART_OF_FOLDER = {
    "errors": "words",
    "cache": "cache",
    "models": "models",
    "shared_cache": "engine",  # the notebooks' interface: above models, beside the engine
    "engine": "engine",
    "protocols": "protocols",
    "evaluation": "tops",
    "training": "tops",
    "server": "tops",
    "measure": "tops",
    "cli": "cli",
    "prompting": "prompting",  # any part may use it; it uses words only
}
# __init__ files gather names for the user; the package's own may reach anywhere.
EXEMPT = {ENGINE / "__init__.py", ENGINE / "__main__.py"}


def _imported_modules(path: Path, package: str) -> Iterator[str]:
    """Absolute names of all that the file imports, at any depth; type-checking imports count as well."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from hogwild import cache` imports the part, `from hogwild.cache import Pool` a name of it.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _part(module: str) -> str | None:
    """The part that a module of ours belongs to; None for everybody else's, KeyError for an unknown part."""
    top, *rest = module.split(".")
    if top == "hogwild_cuda":
        return "hogwild_cuda"
    if top != "hogwild":
        return None
    return PART_OF_FOLDER[rest[0]] if rest and rest[0] in PART_OF_FOLDER else "hogwild"


def _files() -> list[Path]:
    return sorted({*ENGINE.rglob("*.py"), *(ROOT / "hogwild_cuda").rglob("*.py")} - EXEMPT)


def _module_name(path: Path) -> str:
    base = ENGINE.parent if path.is_relative_to(ENGINE) else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts)


def _breaches(path: Path) -> list[str]:
    module = _module_name(path)
    here = _part(module)
    assert here in {*ORDER, "prompting"}, f"{path}: say in PART_OF_FOLDER where this part stands"
    package = module.removesuffix(".__init__") if path.name == "__init__.py" else module.rpartition(".")[0]
    breaches = []
    for imported in _imported_modules(path, package):
        there = _part(imported)
        if there is None or there == here:
            continue
        if there == "hogwild":
            # The package's face: importing it from below would turn the arrows round.
            allowed = here in ("tops", "cli")
        elif here == "prompting":
            allowed = there == "words"
        elif there == "prompting":
            allowed = ORDER.index(here) >= ORDER.index("engine")
        else:
            allowed = ORDER.index(there) < ORDER.index(here)
        if not allowed:
            breaches.append(f"{module} imports {imported}: {here} may not import from {there}")
    return breaches


@pytest.mark.parametrize("path", _files(), ids=_module_name)
def test_imports_point_one_way(path: Path) -> None:
    assert _breaches(path) == []


@pytest.mark.parametrize("path", sorted((ROOT / "hogwild_cuda").rglob("*.py")), ids=_module_name)
def test_ops_import_torch_only(path: Path) -> None:
    allowed = {"torch", "hogwild_cuda", *sys.stdlib_module_names}
    foreign = {name.split(".")[0] for name in _imported_modules(path, "hogwild_cuda")} - allowed
    assert not foreign


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from hogwild.engine import Engine", "cache may not import from engine"),
        ("from .. import models", "cache may not import from models"),
        ("def f():\n    import hogwild.cli.app", "cache may not import from cli"),
    ],
)
def test_a_breach_is_seen(
    source: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "python" / "hogwild" / "cache"
    folder.mkdir(parents=True)
    file = folder / "bad.py"
    file.write_text(source)
    monkeypatch.setitem(globals(), "ENGINE", tmp_path / "python" / "hogwild")
    (breach,) = _breaches(file)
    assert expected in breach
