"""docs/evaluation.md says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hogwild.cli import options
from hogwild.evaluation.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "evaluation.md").read_text()


def test_all_tasks_are_listed():
    section = GUIDE.partition("\n## Tasks\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)
    assert listed == list(TASKS)


def test_options_and_commands_exist():
    from hogwild.cli.app import app

    files = sorted((ROOT / "python" / "hogwild" / "cli").glob("*commands.py"))
    source = "".join(file.read_text() for file in files)
    known = {name.replace("_", "-") for name in re.findall(r"^    (\w+):", source, re.MULTILINE)}
    known |= set(re.findall(r'"--([a-z-]+)"', source + Path(options.__file__).read_text()))
    named = set(re.findall(r"--([a-z][a-z-]+)\b(?!_)", GUIDE)) - {"no-build-isolation", "batch", "tasks"}
    assert named <= known | {"model"}
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"\bhogwild ([a-z][a-z-]*)", GUIDE)) <= commands


def test_links_inside_the_docs_lead_somewhere():
    for target in re.findall(r"\]\(([^)h][^)]*)\)", GUIDE.replace("(http", "(h")):
        page, _, anchor = target.partition("#")
        text = (ROOT / "docs" / page).read_text()
        titles = [
            re.sub(r"[^a-z0-9 -]", "", line.lower()) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        ]
        assert not anchor or anchor in [title.replace(" ", "-") for title in titles], target


@pytest.mark.demo
@pytest.mark.slow
def test_the_guides_python_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "evaluation.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sequential", "hogwild:2"]
    assert (tmp_path / "results" / "example" / "report.html").is_file()
