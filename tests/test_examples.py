"""The examples, the notebook and the Python in docs/hogwild.md run as they are, with the demo model on a CPU."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from hogwild.prompting import family_names, load_family
from hogwild.protocols import parse

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "hogwild.md").read_text()

needs_the_demo_model = [pytest.mark.demo, pytest.mark.slow]


class TestWithTheDemoModel:
    pytestmark = needs_the_demo_model

    def test_collaborate(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.argv", ["collaborate.py", "--workers", "2", "--budgets", "4", "8"])
        runpy.run_path(str(ROOT / "examples" / "collaborate.py"), run_name="__main__")
        *_, head, first, second = capsys.readouterr().out.splitlines()
        assert head.split() == ["forwards", "sequential", "hogwild:2"]
        assert (first.split()[0], second.split()[0]) == ("4", "8")
        assert first.count("(asked for)") == 2

    def test_the_notebook(self, capsys: pytest.CaptureFixture[str]) -> None:
        notebook = json.loads((ROOT / "examples" / "hogwild.ipynb").read_text())
        names: dict = {}
        printed = []
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
                printed.append(capsys.readouterr().out)
        _, run, views, answers, methods = printed
        assert "has finished step 1" in run and run.endswith("sequential forwards: 28\n")
        assert "===== Alice sees" in views and views.index("===== Bob sees") > views.index("**Alice [2]:**")
        assert answers.count("BudgetAnswer(") == 3
        assert [line.split()[0] for line in methods.splitlines()] == names["methods"]
        assert names["engine"].pool.used_pages == 0

    def test_the_guides_python(self, capsys: pytest.CaptureFixture[str]) -> None:
        (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
        exec(compile(example, "hogwild.md", "exec"), {})
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["8", "16"]


def test_the_guides_methods_exist() -> None:
    strings = re.findall(r"`((?:hogwild|sequential|self-consistency|skeleton)(?::[\w+-]+)*)`", GUIDE)
    assert len(strings) > 8
    for string in strings:
        parse(string)
    for words in re.findall(r"^\| (`:.*?) \|", GUIDE, re.MULTILINE):
        for word in re.findall(r"`:([\w-]+)`", words):
            assert parse(f"hogwild:2:{word}").options.keys() - {"workers"}


def test_the_guides_families_are_those_that_there_are(tmp_path: Path) -> None:
    table = GUIDE[GUIDE.index("| family |") : GUIDE.index("The family is found")]
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == family_names()
    for name, turn, thoughts in re.findall(
        r"^\| `([\w-]+)` \|[^|]*\| ([^|]*) \| ([^|]*) \|", table, re.MULTILINE
    ):
        family = load_family(name)
        assert ("system" in turn) == (family.rules_in == "system")
        assert (thoughts != "none") == bool(family.think)
    (own,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    path = tmp_path / "own.yaml"
    path.write_text(own)
    assert load_family(path).openings == ("{worker} here.",)
