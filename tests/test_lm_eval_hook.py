"""`lm_eval --model hogwild` after an installation: what is installed for it, and that nobody else notices."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("lm_eval")

import lm_eval.models
from lm_eval.api import registry

from hogwild_cuda.version import __version__

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "python" / f"hogwild_lm_eval.{suffix}" for suffix in ("pth", "py")]

# Under another name, since the one that is installed may have been loaded when Python started.
SPEC = importlib.util.spec_from_file_location("hook_of_this_tree", FILES[1])
assert SPEC is not None and SPEC.loader is not None
hook = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hook)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that has what this one has, and the two files as an installation puts them."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    for file in FILES:
        shutil.copy(file, packages)
    # Not PYTHONPATH, which would go before the environment; .pth files of these folders are not read again.
    ours = [str(ROOT), str(ROOT / "python"), *(place for place in sys.path if Path(place).is_dir())]
    Path(packages, "others.pth").write_text("\n".join(ours) + "\n")
    return folder / "bin" / "python"


def run(python, *arguments, **environment):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", ""), **environment}
    return subprocess.run([str(python), *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("command", ["bdist_wheel", "editable_wheel"])
def test_wheels_and_editable_installs_have_the_files_beside_the_packages(command, tmp_path):
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    only_python = shutil.ignore_patterns("*.so", "_build.json", "*.egg-info", "__pycache__")
    for name in ("python", "hogwild_cuda"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=only_python)
    (tmp_path / "csrc" / "cpu").mkdir(parents=True)
    (tmp_path / "csrc" / "cpu" / "nothing.cpp").write_text("")  # the extension itself is not the subject
    subprocess.run(
        [sys.executable, "setup.py", "-q", command, "--dist-dir", "out"],
        cwd=tmp_path,
        env={**os.environ, "FORCE_CUDA": "0"},
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (record,) = (name for name in names if name.endswith("/RECORD"))
        recorded = archive.read(record).decode()
    for file in FILES:
        (name,) = (name for name in names if Path(name).name == file.name)
        assert name in (file.name, f"hogwild-{__version__}.data/purelib/{file.name}")
        assert f"{name},sha256=" in recorded  # so it is removed with the rest


def test_python_starts_without_any_of_our_packages(python):
    script = "import sys; print(*(m for m in sys.modules if m.partition('.')[0] in ('hogwild', 'torch', 'lm_eval')))"
    result = run(python, "-c", f"{script}; import hogwild_lm_eval; print(hogwild_lm_eval.__file__)")
    assert result.stderr == "" and result.stdout.startswith("\n")
    assert Path(result.stdout.strip()).is_relative_to(Path(python).parents[1])  # what was installed


@pytest.mark.parametrize(("switch", "known"), [({}, "True"), ({"HOGWILD_LM_EVAL": "0"}, "False")])
def test_the_name_is_there_when_somebody_imports_the_harness_and_can_be_kept_out(python, switch, known):
    script = """
import importlib.util, sys
importlib.util.find_spec("lm_eval.models")  # looking is not importing
import lm_eval.models
from lm_eval.api.registry import model_registry
print("hogwild" in model_registry, "hf" in model_registry, "hogwild.evaluation" in sys.modules)
"""
    result = run(python, "-c", script, **switch)
    assert result.stderr == "" and result.stdout.split() == [known, "True", "False"]


@pytest.fixture
def own_registry(monkeypatch):
    """The harness's registry as it is when its models are imported."""
    made = registry.Registry("model")
    monkeypatch.setattr(registry, "model_registry", made)
    return made


def test_the_name_stands_for_our_model(own_registry):
    hook.register()
    hook.register()
    assert own_registry.get("hogwild").__name__ == "HogwildLM"
    hook.register()  # the class is there now


def test_a_harness_that_finds_plugins_is_left_alone(own_registry, monkeypatch):
    monkeypatch.setattr(registry, "load_plugins", lambda group, models: [], raising=False)
    hook.register()
    assert "hogwild" not in own_registry


def test_a_harness_without_such_a_registry_is_left_alone(monkeypatch):
    monkeypatch.delattr(registry, "model_registry")
    hook.register()


def test_the_finder_is_installed_once_and_is_for_one_module(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=lambda *arguments: None)])
    hook.install()
    hook.install()
    finder, _ = sys.meta_path
    assert finder.find_spec("lm_eval.models.huggingface") is None
    assert finder.find_spec("lm_eval.models") is None  # nobody else has it: the harness is not installed
    assert lm_eval.models.__spec__ is not None


@pytest.mark.demo
@pytest.mark.slow
def test_the_harness_runs_a_task_on_the_demo_model(python, tmp_path):
    (tmp_path / "sums.jsonl").write_text(json.dumps({"a": 2, "b": 3, "answer": "5"}) + "\n")
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "Calculate {{a}} + {{b}}.",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "sums.yaml").write_text(json.dumps(task))  # JSON is YAML
    script = shutil.which("lm_eval", path=str(Path(sys.executable).parent))
    assert script is not None
    command = [script, "--model", "hogwild", "--model_args", "pretrained=demo,workers=2,max_forwards=4"]
    command += ["--tasks", "sums", "--include_path", str(tmp_path), "--output_path", str(tmp_path / "out")]
    result = run(python, *command, OMP_NUM_THREADS="2", HF_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["sums"]["exact_match,none"] in (0, 1)
