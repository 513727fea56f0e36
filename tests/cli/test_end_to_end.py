"""The command on the real demo model."""

from __future__ import annotations

import pytest

from hogwild.cli.app import run
from hogwild.engine.events import Event, FinishEvent, StartEvent, TokenEvent
from hogwild.engine.trace import read_trace


@pytest.mark.demo
def test_solve_then_replay(capsys, tmp_path):
    path = tmp_path / "run.jsonl"
    settings = ["--workers", "Ann,Ben", "--max-forwards", "6", "--temperature", "0", "--device", "cpu"]
    assert run(["solve", "What is 37 + 48?", *settings, "--json", "--trace", str(path)]) == 0
    events = [Event.from_json(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(events[0], StartEvent) and events[0].workers == ["Ann", "Ben"]
    assert "What is 37 + 48?" in events[0].prompt
    sampled = [event for event in events if isinstance(event, TokenEvent) and event.source == "sampled"]
    assert [event.worker for event in sampled] == ["Ann", "Ben"] * 6
    assert isinstance(events[-1], FinishEvent) and events[-1].reason == "max_forwards"
    assert list(read_trace(path)) == events

    assert run(["replay", str(path)]) == 0
    out, log = capsys.readouterr()
    assert out.startswith("Ann [1]") and "12 tokens" in log
