"""The display fills the terminal, shows the end of long texts, and obeys nothing that a model writes."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from runs import make_run, names
from test_state import state_of

from hogwild.cli.display import draw, figures, finished_because
from hogwild.cli.grid import choose_grid
from hogwild.cli.state import RunState
from hogwild.cli.tail import last_characters
from hogwild.cli.text import printable
from hogwild.cli.transcript import transcript
from hogwild.engine.events import FinishEvent, StartEvent, StepEvent, TokenEvent


def screen(state: RunState, width: int = 80, height: int = 24) -> list[str]:
    """The display's lines, without styles."""
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(draw(state, width, height), end="")
    return Text.from_ansi(capture.get().removesuffix("\n")).plain.split("\n")


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (120, 30), (200, 50), (20, 5), (300, 8)])
@pytest.mark.parametrize("workers", [0, 1, 2, 3, 5, 8, 16])
def test_fills_the_terminal_exactly(workers, size):
    width, height = size
    state = state_of(make_run(workers, forwards=40)) if workers else RunState()
    lines = screen(state, width, height)
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}


@pytest.mark.parametrize("workers", range(1, 17))
def test_every_worker_is_seen_on_a_standard_terminal(workers):
    text = "\n".join(screen(state_of(make_run(workers, forwards=40)), 80, 24))
    assert all(name in text for name in names(workers))
    assert "What is 37 + 48?" in text and "shared history" in text and "tokens/s" in text


def test_says_how_many_workers_do_not_fit():
    lines = screen(state_of(make_run(16, forwards=10)), 60, 4)
    shown = sum(name in "\n".join(lines) for name in names(16))
    assert 0 < shown < 16
    assert "workers not shown" in lines[-1]


def test_long_text_shows_its_end_and_history_its_newest_steps():
    events = [StartEvent(protocol="p", workers=["A"], problem="Count.")]
    events += [StepEvent(worker="A", index=i, text=f"finished-{i}") for i in range(1, 100)]
    events += [TokenEvent(worker="A", token=1, text=f"word-{i} ") for i in range(2000)]
    text = "\n".join(screen(state_of(events)))
    assert "word-1999" in text and "word-0 " not in text
    assert "finished-99" in text and "finished-1\n" not in text
    assert "Count." in text  # the problem stays


def test_text_of_a_model_is_neither_markup_nor_control_sequence():
    hostile = "[bold red]x[/] [/nonsense] \x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp.exe :smile: a\r\nb\tc"
    state = state_of(
        [
            StartEvent(protocol="[link=x]", workers=["[red]W"], problem=hostile, model=hostile),
            TokenEvent(worker="[red]W", token=1, text=hostile),
            StepEvent(worker="[red]W", index=1, text=hostile),
            TokenEvent(worker="[red]W", token=1, text=hostile),
            FinishEvent(reason="error", message=hostile),
        ]
    )
    shown = "\n".join(screen(state, 100, 30))
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(transcript(state))
    for text in (shown, console.file.getvalue(), finished_because(state)):
        assert "[bold red]x[/] [/nonsense] ␛[2J" in text
        assert not any(sign in text for sign in "\x1b\x07\x9b\u202e\r\t")
    assert "[red]W" in shown and ":smile:" in shown


def test_wide_characters_are_cut_by_cells():
    events = make_run(
        ["日本", "😀"], forwards=30, sentences=("漢字かな交じり文" * 30, "👩‍👩‍👧‍👦🤽‍♀️" * 40, "é" * 300)
    )
    for width in (40, 41, 80):
        assert {cell_len(line) for line in screen(state_of(events), width, 12)} == {width}


def test_footer_says_how_it_stands():
    assert "reading the prompt" in screen(state_of(make_run(2, forwards=10)[:1]))[-1]
    state = state_of(make_run(2, forwards=10, finish=None))
    assert "Ctrl-C stops" in screen(state)[-1]
    assert finished_because(state) == "unfinished"
    state = state_of(make_run(2, forwards=10, finish="eos"))
    assert "a worker ended" in screen(state)[-1]
    assert figures(state) == "10 forwards · 20 tokens · 25.0 tokens/s · 0.8 s"


@pytest.mark.parametrize(
    "panes, size, expected",
    [
        (1, (80, 14), (1, 1)),
        (2, (80, 14), (2, 1)),
        (4, (80, 14), (2, 2)),
        (8, (120, 18), (4, 2)),
        (2, (30, 30), (1, 2)),
    ],
)
def test_grid(panes, size, expected):
    grid = choose_grid(panes, *size)
    assert (grid.columns, grid.rows) == expected


def test_grid_never_exceeds_the_area():
    for panes, width, height in itertools.product(range(1, 20), (1, 17, 80, 250), (0, 1, 5, 40)):
        grid = choose_grid(panes, width, height)
        assert grid.rows * grid.row_height <= max(1, height) and grid.row_height >= 1
        assert grid.columns * grid.rows >= panes or grid.row_height == 1


def test_tail_cut_moves_in_strides():
    runs = [("a" * 3000, "x"), ("b" * 3000, "y")]
    kept = last_characters(runs, 1000)
    assert kept == [("b" * (6000 - 4608), "y")]
    assert last_characters([("a" * 3000, "x"), ("b" * 3001, "y")], 1000)[0][0] == "b" * (6001 - 4608)
    assert last_characters(runs, 10_000) == runs
    assert "".join(text for text, _ in last_characters(runs, 3001))[-3001:] == "a" + "b" * 3000


def test_printable_keeps_what_is_harmless():
    assert printable("a\n b é 漢 \u200d") == "a\n b é 漢 \u200d"
