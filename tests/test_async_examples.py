"""The examples, the notebook and the documentation's code run as they are written."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.demo, pytest.mark.slow]


def test_the_notebook(capsys):
    cells = json.loads((ROOT / "examples" / "async_reasoning.ipynb").read_text())["cells"]
    names: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs are not committed"
            exec(compile("".join(cell["source"]), f"async_reasoning.ipynb, cell {number}", "exec"), names)
    shown = capsys.readouterr().out
    assert "thinker sampled" in shown and "=== the writer sees ===" in shown
    assert names["delays"].first_forward is None or names["delays"].first_forward > 0
    assert names["engine"].pool.used_pages == 0
    assert names["session"].finished and names["result"].finish_reason in ("eos", "max_forwards")


def test_the_assistant(capsys, monkeypatch):
    arguments = ["assistant.py", "How much are 12 and 30?", "--seconds", "0.5", "--max-forwards", "70"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(ROOT / "examples" / "assistant.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "[thinker_only]" in shown


def test_the_documentation(capsys):
    text = (ROOT / "docs" / "async-reasoning.md").read_text()
    example = re.findall(r"```python\n(.*?)```", text.partition("## In Python")[2], re.DOTALL)[0]
    names: dict = {}
    exec(compile(example.replace("max_forwards=80", "max_forwards=64"), "async-reasoning.md", "exec"), names)
    assert names["session"].finished


def test_the_documentation_names_every_policy_and_state():
    from hogwild.protocols.async_reasoning import POLICIES
    from hogwild.protocols.async_reasoning.modes import ACTIVE

    text = (ROOT / "docs" / "async-reasoning.md").read_text()
    for mode in ACTIVE:
        assert f" {mode}" in text
    for name in POLICIES.keys() - {"think-first", "no-thinking"}:
        assert f"`{name}`" in text
