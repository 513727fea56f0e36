"""All that a run wrote, for reading after it is over."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from hogwild.cli.display import entry_runs, figures, finished_because, worker_colours
from hogwild.cli.state import RunState
from hogwild.cli.text import printable


def transcript(state: RunState) -> RenderableType:
    """The problem, the shared history, what was left unfinished, and the figures."""
    colours = worker_colours(state)
    blocks: list[Text] = []
    if state.start is not None and state.start.problem:
        blocks.append(Text(printable(state.start.problem.strip()), "bold"))
    for entry in state.history:
        blocks.append(_text(entry_runs(entry, colours.get(entry.worker, ""))))
    for pane in state.panes.values():
        if pane.text:
            blocks.append(_text([(f"{pane.tag}, unfinished: ", colours[pane.worker]), (pane.text, "")]))
    blocks.append(Text(f"{figures(state)} · {finished_because(state)}", "dim"))
    spaced = [part for block in blocks for part in (block, Text())]
    return Group(*spaced[:-1])


def _text(runs: list[tuple[str, str]]) -> Text:
    text = Text(overflow="fold")
    for run, style in runs:
        text.append(printable(run), style)
    text.rstrip()
    return text
