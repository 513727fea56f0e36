"""The README's Python examples run as they are written, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.demo
def test_python_examples(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 4
    names: dict = {}
    printed = []
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
        printed.append(capsys.readouterr().out)
    collaboration, stream, background, notebook = printed
    assert "Alice [1]" in collaboration and "Bob [1]" in collaboration
    assert stream.count("Ada: ") >= 8 and stream.count("Kurt: ") >= 8
    assert background.splitlines() == ["max_forwards 16"] * 2
    assert re.match(r"Ada: 1, 2, 3,.* \| Kurt: 11, 12, 13,", notebook, re.DOTALL)
    assert names["prompt"].tokens[-len(names["ada"]) :] == names["ada"].tokens
