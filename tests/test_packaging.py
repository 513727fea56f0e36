"""The package says the truth about itself: version, build record, dependencies, commands, benchmarks."""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import setuptools
import torch

import hogwild_cuda
from hogwild_cuda.version import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_stands_in_one_file() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", __version__)
    files = [ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "CMakeLists.txt"]
    files += [*(ROOT / "python").rglob("*.py"), *(ROOT / "hogwild_cuda").glob("*.py")]
    repeats = [str(f) for f in files if f'"{__version__}"' in f.read_text() and f.name != "version.py"]
    assert repeats == []


def test_the_version_is_that_of_the_distribution_and_the_changelog() -> None:
    assert hogwild_cuda.__version__ == __version__
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    try:
        installed = importlib.metadata.version("hogwild")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from the source tree, not installed")
    assert installed == __version__


def test_build_info_is_what_was_built() -> None:
    info = hogwild_cuda.build_info()
    assert info.version == __version__
    assert info.torch_running == torch.__version__
    # An extension of another PyTorch would not have loaded, or worse.
    assert info.torch_built == torch.__version__
    assert info.compiler and info.cpu_capability
    assert info.cuda == (info.why_no_cuda is None)
    assert info.cuda == (info.nvcc is not None) == (info.cuda_arch_list is not None)
    assert torch.version.cuda is not None or not info.cuda
    assert dataclasses.asdict(info)["version"] == __version__


def test_the_ops_are_there_after_import() -> None:
    for op in ("append", "attention", "rotation_table", "move", "admit"):
        assert callable(getattr(torch.ops.hogwild, op))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "not built"),
        ({"_C.abi3.so": b"not a library"}, "was built against PyTorch 0.0"),
    ],
)
def test_a_missing_or_foreign_extension_is_named(source: dict, message: str, tmp_path: Path) -> None:
    package = tmp_path / "hogwild_cuda"
    package.mkdir()
    for file in (ROOT / "hogwild_cuda").glob("*.py"):
        (package / file.name).write_text(file.read_text())
    for name, content in source.items():
        (package / name).write_bytes(content)
    fields = {f.name: None for f in dataclasses.fields(hogwild_cuda.BuildInfo)}
    for at_run_time in ("version", "torch_built", "torch_running", "cpu_capability", "editable"):
        del fields[at_run_time]
    (package / "_build.json").write_text(json.dumps({**fields, "torch": "0.0"}))
    command = [sys.executable, "-c", "import hogwild_cuda"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "ImportError" in result.stderr and message in result.stderr


@pytest.mark.parametrize(
    ("toolkit", "force", "reason"),
    [
        ("12.9", "", "is 12.9, and PyTorch .* its own CUDA, 13.0"),
        ("12.9", "1", "is 12.9, and PyTorch .* its own CUDA, 13.0"),
        ("13.2", "1", None),  # another minor version will do
        ("13.0", "0", "FORCE_CUDA=0"),
        ("?", "", "did not say its version"),
    ],
)
def test_a_cuda_toolkit_is_used_if_it_fits(
    toolkit: str, force: str, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = setup_script(monkeypatch)
    nvcc = tmp_path / "bin" / "nvcc"
    for file in (nvcc, tmp_path / "include" / "cuda_runtime.h"):
        file.parent.mkdir()
        file.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {toolkit}, V{toolkit}.1'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("FORCE_CUDA", force)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    if reason is None:
        assert script.cuda_decision() == (tmp_path, None)
    elif force == "1":
        with pytest.raises(SystemExit, match=f"FORCE_CUDA=1, but .*{reason}"):
            script.cuda_decision()
    else:
        home, why = script.cuda_decision()
        assert home is None and re.search(reason, why)


def setup_script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions of setup.py, which sets nothing up."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setenv("FORCE_CUDA", "0")
    spec = importlib.util.spec_from_file_location("hogwild_setup", ROOT / "setup.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_a_cuda_toolkit_that_is_named_is_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = setup_script(monkeypatch)
    for file in (tmp_path / "bin" / "nvcc", tmp_path / "include" / "cuda_runtime.h"):
        file.parent.mkdir()
        file.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    assert script.find_cuda_home() == tmp_path
    monkeypatch.setenv("CUDA_HOME", "/opt/cuda-misspelt")
    monkeypatch.setenv("FORCE_CUDA", "1")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(SystemExit, match=r"no CUDA toolkit .* in /opt/cuda-misspelt, which CUDA_HOME"):
        script.cuda_decision()


@pytest.mark.parametrize("archs", ["7.5", "7.0;9.0", "6.1+PTX"])
def test_architectures_that_are_too_old(archs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = setup_script(monkeypatch)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", archs)
    with pytest.raises(SystemExit, match=r"TORCH_CUDA_ARCH_LIST is .*; expected architectures from 8.0 on"):
        script.cuda_arch_list()
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0a+PTX;12.0")
    assert script.cuda_arch_list() == "8.0;9.0a+PTX;12.0"


def test_a_misspelt_requirement_of_tests_is_an_error(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert conftest
    monkeypatch.setenv("HOGWILD_TEST_REQUIRE", "demo, cuda")
    assert conftest.required_markers() == {"demo", "cuda"}
    monkeypatch.setenv("HOGWILD_TEST_REQUIRE", "demo,gpu")
    with pytest.raises(pytest.UsageError, match="expected some of demo, cuda; got gpu"):
        conftest.required_markers()


class _WithoutTypes(ast.NodeTransformer):
    """Leaves out what only type checkers import."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def test_what_is_imported_is_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0]
    names = set(re.findall(r'^    "([A-Za-z0-9_.-]+)', declared, re.MULTILINE))
    declared_modules = {name.replace("-", "_") for name in names}
    declared_modules |= {"yaml"} if "pyyaml" in names else set()  # the one that is called otherwise
    imported: dict[str, str] = {}
    for file in [*(ROOT / "python").rglob("*.py"), *(ROOT / "hogwild_cuda").glob("*.py")]:
        for node in ast.walk(_WithoutTypes().visit(ast.parse(file.read_text()))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                modules = (
                    [node.module]
                    if isinstance(node, ast.ImportFrom) and node.module and not node.level
                    else []
                )
            imported.update({module.partition(".")[0]: str(file.relative_to(ROOT)) for module in modules})
    ours = {"hogwild", "hogwild_cuda"}
    undeclared = {
        m: f for m, f in imported.items() if m not in {*sys.stdlib_module_names, *ours, *declared_modules}
    }
    assert undeclared == {}


def _documented_commands() -> list[str]:
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(file.read_text() for file in files).replace("\\\n", "")
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", text, re.DOTALL)
    return [
        line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines() if line.strip()
    ]


def test_documented_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {m for line in _documented_commands() for m in re.findall(r"(?:^|\s)make ([a-z-]+)", line)}
    assert used and used <= targets


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_demo_hands_the_problem_on_as_it_is(tmp_path: Path) -> None:
    command, ready = tmp_path / "hogwild", tmp_path / "ready"
    command.write_text('#!/bin/sh\nprintf "%s" "$2"\n')
    command.chmod(0o755)
    ready.touch()
    problem = """What's "5$" in $(CURDIR), `echo cents`, \\n or $HOME?"""
    arguments = [f"BIN={tmp_path}", f"READY={ready}", f"PROBLEM={problem}"]
    told = subprocess.run(
        ["make", "--silent", "demo", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == problem


def test_documented_hogwild_commands_and_options_exist() -> None:
    from typer.testing import CliRunner

    from hogwild.cli.app import app

    used = [line.split() for line in _documented_commands() if line.startswith("hogwild ")]
    assert used
    for words in used:
        result = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert result.exit_code == 0, words
        for option in (w.partition("=")[0] for w in words if w.startswith("--")):
            assert option in result.output, (words, option)


@pytest.mark.parametrize(
    ("program", "option", "value"),
    [
        ("attention_cpu", "--rounds", "0"),
        ("decode_cpu", "--workers", "1,x"),
        ("async_cpu", "--forwards", "0"),
        ("attention_cuda", "--tokens", "x"),
        ("decode_cuda", "--contexts", "0"),
        ("decode_cuda", "--json", "/dev/null/results.json"),
        ("decode_cuda", "--plot", str(ROOT)),
    ],
)
def test_benchmarks_refuse_wrong_arguments_before_they_measure(program: str, option: str, value: str) -> None:
    command = [sys.executable, ROOT / "bench" / f"{program}.py", option, value]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 2 and told.stdout == ""
    assert f"argument {option}: {value!r}: expected" in told.stderr.splitlines()[-1]
