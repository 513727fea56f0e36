"""The live display: a `RunState` drawn to fill a terminal of any size.

On top the shared history, below it one pane per worker with what it is writing, at the bottom one line of
figures. `draw` is a pure function of the state; `hogwild.cli.live` puts it on a screen.
"""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from hogwild.cli.grid import Grid, choose_grid
from hogwild.cli.state import Entry, Pane, RunState
from hogwild.cli.tail import Tail
from hogwild.cli.text import printable

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red", "bright_cyan", "bright_magenta")
INSERTED = "dim italic"
_BOXED_HEIGHT = 6  # lines: lower panes have a rule on top instead of a box
_HISTORY_SHARE = 0.45
_FINISHED = {
    "answer": "answered",
    "eos": "a worker ended",
    "max_forwards": "out of forwards",
    "max_length": "out of context",
    "cancelled": "cancelled",
    "error": "error",
}


def draw(state: RunState, width: int, height: int) -> RenderableType:
    """The whole display; it fills `width` by `height` cells exactly."""
    panes = list(state.panes.values())
    body = max(2, height - 1)
    history_height, grid = _divide(state, len(panes), width, body)
    shown = panes[: grid.columns * grid.rows]
    colours = worker_colours(state)
    rows = []
    name_width = max((cell_len(pane.worker) for pane in panes), default=0)
    for first in range(0, grid.columns * grid.rows, grid.columns):
        row = Layout(Text(" "), size=grid.row_height)
        if in_row := shown[first : first + grid.columns]:
            room = width // len(in_row) - name_width - 10  # of a title, for figures
            row.split_row(*(Layout(_pane(p, colours[p.worker], room, grid.row_height)) for p in in_row))
        rows.append(row)
    root = Layout()
    root.split_column(
        Layout(_history(state), size=history_height),
        *rows,
        Layout(footer(state, hidden=len(panes) - len(shown)), size=1),
    )
    return root


def _divide(state: RunState, panes: int, width: int, body: int) -> tuple[int, Grid]:
    """Lines of the history, and the grid of panes under it."""
    share = _HISTORY_SHARE if _has_history(state) else 0.2
    history = min(max(4, round(body * share)), max(1, body - 1))
    if panes > 2:  # a history of a few lines is still useful, a pane of one line hardly
        readable = choose_grid(panes, width, body - 4)
        history = min(history, max(4, body - readable.rows * _BOXED_HEIGHT))
        history = min(history, max(1, body - 1))
    grid = choose_grid(panes, width, body - history)
    return body - grid.rows * grid.row_height, grid


def _has_history(state: RunState) -> bool:
    return bool(state.history) or state.start is None or state.start.layout != "contiguous"


def worker_colours(state: RunState) -> dict[str, str]:
    """A colour for every worker, the same throughout a run."""
    return {worker: COLOURS[i % len(COLOURS)] for i, worker in enumerate(state.panes)}


def entry_runs(entry: Entry, colour: str) -> list[tuple[str, str]]:
    """What a worker finished, as (text, style) runs: its tag in the worker's colour, then its text."""
    return [
        (f"{entry.tag}: ", f"bold {colour}"),
        (entry.text.strip(), "" if entry.worker and entry.index else "bold"),
    ]


def pane_runs(pane: Pane) -> list[tuple[str, str]]:
    """What a worker is writing, as (text, style) runs: its own words plain, what was inserted set off."""
    return [(text, INSERTED if inserted else "") for text, inserted in pane.body]


def _history(state: RunState) -> RenderableType:
    colours = worker_colours(state)
    runs: list[tuple[str, str]] = []
    for entry in state.history:
        runs.append(("\n" if runs else "", ""))
        runs.extend(entry_runs(entry, colours.get(entry.worker, "")))
    problem = state.start.problem if state.start is not None else ""
    return Panel(
        _Shared(problem, Tail(runs)),
        box=box.ROUNDED,
        title=Text(f"shared history · {_count(len(state.history), 'step')}", "bold"),
        title_align="left",
        subtitle=Text(" · ".join(_about(state)), "dim") if _about(state) else None,
        subtitle_align="right",
        border_style="bright_black",
        padding=(0, 1),
    )


class _Shared:
    """The problem, which stays on top, and the end of the history under it."""

    def __init__(self, problem: str, history: Tail) -> None:
        self.problem, self.history = problem, history

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.max_height
        room = height if not self.history.runs else max(1, height // 4)
        problem = Text(printable(self.problem.strip()), "bold")
        lines = list(problem.wrap(console, max(1, options.max_width))) if problem else []
        if len(lines) > room:
            lines = lines[:room]
            lines[-1].append(" …")
            lines[-1].truncate(options.max_width)
        yield from lines
        if height > len(lines):
            yield from console.render(self.history, options.update(height=height - len(lines)))


def _about(state: RunState) -> list[str]:
    start = state.start
    if start is None:
        return []
    model = start.model.rstrip("/").rpartition("/")[2]  # of a folder or a hub's id, the last part says enough
    return [printable(name) for name in (model, start.protocol, start.layout, state.mode) if name]


def _pane(pane: Pane, colour: str, room: int, height: int) -> RenderableType:
    title = Text.assemble((printable(pane.worker), f"bold {colour}"), (_pane_figures(pane, room), "dim"))
    text = Tail(pane_runs(pane))
    if height < _BOXED_HEIGHT:
        return _LowPane(pane, colour, title, text)
    return Panel(text, box=box.ROUNDED, title=title, title_align="left", border_style=colour, padding=(0, 1))


def _pane_figures(pane: Pane, room: int) -> str:
    """As many figures as the title has room for."""
    figures = [_count(pane.tokens, "token"), f"step {pane.steps + 1}"]
    if pane.interventions:
        figures.append(_count(pane.interventions, "question"))
    while figures and cell_len(" · ".join(figures)) > room:
        figures.pop()
    return "".join(f" · {figure}" for figure in figures)


class _LowPane:
    """A pane of few lines: the title in a rule, then text; in one line, the name and the end of the text."""

    def __init__(self, pane: Pane, colour: str, title: Text, text: Tail) -> None:
        self.pane, self.colour, self.title, self.text = pane, colour, title, text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or options.max_height
        width = max(1, options.max_width - 1)  # a column of air to the next pane
        if height > 1:
            yield from console.render(
                Rule(self.title, align="left", style=self.colour), options.update(width=width, height=None)
            )
            yield from console.render(self.text, options.update(width=width, height=height - 1))
            return
        line = Text(f"{printable(self.pane.worker)} ", f"bold {self.colour}")
        room = width - line.cell_len
        tail = Text(printable(self.pane.text[-2 * width :]).replace("\n", " ").strip())
        while tail.cell_len > max(0, room):
            tail = tail[1:]
        line.append_text(tail)
        line.truncate(width)
        yield line


def footer(state: RunState, hidden: int = 0) -> RenderableType:
    """One line of figures: forwards, tokens, tokens per second, seconds, and how the run stands."""
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    line.add_column(no_wrap=True, justify="right")
    status = Text("Ctrl-C stops" if state.tokens else "reading the prompt", "dim")
    if state.finish is not None:
        style = {"error": "bold red", "cancelled": "bold yellow"}.get(state.finish.reason, "bold green")
        status = Text(_FINISHED[state.finish.reason], style)
    if hidden > 0:
        status = Text.assemble((f"+{hidden} workers not shown  ", "yellow"), status)
    line.add_row(Text(" " + figures(state)), status)
    return line


def figures(state: RunState) -> str:
    """The run in figures, as one line of text."""
    seconds = state.finish.seconds if state.finish is not None else state.time
    return (
        f"{state.forwards} forwards · {_count(state.tokens, 'token')} · "
        f"{state.tokens_per_second:.1f} tokens/s · {seconds:.1f} s"
    )


def finished_because(state: RunState) -> str:
    """Why the run ended, in a few words."""
    if state.finish is None:
        return "unfinished"
    words = _FINISHED[state.finish.reason]
    return f"{words}: {printable(state.finish.message)}" if state.finish.message else words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
