"""The command itself: help that starts fast and tells the truth, `hogwild info`, a real terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import make_run
from typer.testing import CliRunner

from hogwild.cli.app import app, run
from hogwild.engine.trace import TraceWriter

COMMAND = [sys.executable, "-m", "hogwild"]


def test_help_imports_neither_torch_nor_transformers():
    code = (
        "import sys; from hogwild.cli.app import run; assert run(['--help']) == 0; "
        "heavy = {'torch', 'transformers', 'hogwild_cuda'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)


def test_replay_imports_no_torch(tmp_path):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as writer:
        for event in make_run(2, forwards=5):
            writer.write(event)
    code = (
        "import sys; preloaded = 'torch' in sys.modules\n"  # by a plug-in of this interpreter
        "from hogwild.cli.app import run; assert run(['replay', sys.argv[1]]) == 0\n"
        "assert preloaded or 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("command", ["solve", "think", "chat", "replay", "info"])
def test_every_command_has_help_with_a_working_example(command):
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120", "TERM": "dumb"})
    assert result.exit_code == 0
    example = re.search(rf"Example: hogwild {command} ?(.*)", result.output)
    assert example is not None
    for option in re.findall(r"--[a-z-]+", example[1]):
        assert result.output.count(option) >= 2  # in the example, and explained


@pytest.mark.parametrize(
    "arguments", [["replay", "TRACE"], ["replay", "TRACE", "--json"], ["info"], ["--help"]]
)
def test_output_that_nobody_reads_ends_a_command_without_a_word(tmp_path, arguments):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as writer:
        for event in make_run(2, forwards=30):
            writer.write(event)
    given = [str(path) if argument == "TRACE" else argument for argument in arguments]
    reader, out = os.pipe()
    os.close(reader)
    ended = subprocess.run([*COMMAND, *given], stdout=out, stderr=subprocess.PIPE, timeout=120)
    os.close(out)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_closed_files_are_as_good_as_empty_ones(tmp_path):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as writer:
        for event in make_run(2, forwards=3):
            writer.write(event)
    closed = ["sh", "-c", '"$@" <&- >&-', "sh", *COMMAND, "replay"]
    shown = subprocess.run([*closed, str(path)], capture_output=True, timeout=120)
    assert (shown.returncode, shown.stdout, shown.stderr.count(b"error")) == (0, b"", 0)
    refused = subprocess.run(["sh", "-c", '"$@" 2>&-', *closed[3:], "none"], capture_output=True, timeout=120)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, b"", b"")


def test_unknown_command_is_one_line(capsys):
    assert run(["dance"]) == 2
    assert capsys.readouterr().err == "hogwild: error: No such command 'dance'.\n"


def test_no_command_shows_the_help_and_nothing_else(capsys):
    assert run([]) == 2
    told = capsys.readouterr()
    assert "Usage: hogwild" in told.out and told.err == ""


def test_info_says_what_was_built(capsys):
    assert run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    import torch

    import hogwild_cuda

    built = hogwild_cuda.build_info()
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["extension"]["cuda"] is built.cuda and facts["extension"]["why_no_cuda"] == built.why_no_cuda
    assert facts["demo model"]["folder"]
    assert run(["info"]) == 0
    shown = capsys.readouterr().out
    assert "why no cuda" in shown and torch.__version__ in shown


def test_info_explains_an_extension_that_does_not_load(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "hogwild_cuda", None)
    assert run(["info", "--json"]) == 0
    assert "hogwild_cuda" in json.loads(capsys.readouterr().out)["extension"]["missing"]


def test_live_display_on_a_real_terminal(tmp_path):
    """On a pseudo terminal: the alternate screen is entered and left, then the whole text is printed."""
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as writer:
        for event in make_run(2, forwards=20, seconds_per_forward=0.02):
            writer.write(event)
    shown = _on_a_terminal(["replay", str(path)])
    entered, left = shown.index("\x1b[?1049h"), shown.index("\x1b[?1049l")
    assert "shared history" in shown[entered:left]
    after = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown[left:])
    assert "Alice [1]: The tens give 30 + 40 = 70" in after and "out of forwards" in after


def _on_a_terminal(arguments: list[str]) -> str:
    leader, follower = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=env,
        cwd=Path(__file__).parent,
    ) as process:
        os.close(follower)
        chunks = []
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        assert process.wait(timeout=120) == 0
    os.close(leader)
    return b"".join(chunks).decode()
