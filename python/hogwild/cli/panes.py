"""The display of a conversation: the thoughts beside the answer, a line of figures, the line that is typed."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.text import Text

from hogwild.cli.conversation import ConversationState
from hogwild.cli.tail import Tail
from hogwild.cli.text import printable

_SIDE_BY_SIDE = 90  # columns
_HIGH = 16  # lines: there is room for two lines of figures
_MODES = {
    "thinker_only": ("thinking", "yellow"),
    "thinker_and_writer": ("thinking and writing", "green"),
    "writer_only": ("writing", "cyan"),
    "folding": ("summing up", "yellow"),
    "waiting": ("your turn", "magenta"),
}
_KEYS = "Enter sends · Esc breaks the answer off · Ctrl-D ends it · Ctrl-C stops"


def draw(
    state: ConversationState, width: int, height: int, typed: str | None = None, thoughts: bool = True
) -> RenderableType:
    """The whole display; it fills `width` by `height` cells exactly.

    Args:
        state: what has happened.
        typed: what the user is typing; None: nobody can.
        thoughts: whether the thoughts are shown.
    """
    line = figures(state)
    whole = line.cell_len <= width or height < _HIGH
    bottom = [Layout(line, size=1 if whole else 2)]
    if typed is not None:
        bottom.append(Layout(_typed(typed, width), size=1))
    body = Layout(_conversation(state))
    if thoughts:
        pair = (Layout(_thoughts(state)), body)
        body = Layout()
        body.split_row(*pair) if width >= _SIDE_BY_SIDE else body.split_column(*pair)
    root = Layout()
    root.split_column(body, *bottom)
    return root


def figures(state: ConversationState) -> Text:
    """Mode, forwards, tokens, and how long the user has waited; two lines on most terminals."""
    name, colour = _MODES.get(state.mode, ("reading the request", "dim"))
    line = Text(overflow="ellipsis")
    line.append("ended" if state.finish is not None else name, f"bold {colour}")
    delays = state.delays
    parts = [f"{state.forward} forwards", f"{state.tokens} tokens", f"{state.time:.1f} s"]
    if delays.first_seconds is not None:
        parts.append(f"first word after {delays.first_seconds:.1f} s, {delays.first_forward} forwards")
        parts.append(f"silence {delays.total:.1f} s, longest {delays.longest:.1f} s")
    if state.probes:
        parts.append(f"{state.probes} question{'s' if state.probes > 1 else ''}")
    return line.append(" · " + " · ".join(parts), "dim")


def _thoughts(state: ConversationState) -> RenderableType:
    runs = [(event.text, "dim italic" if event.source == "inserted" else "") for event in state.thoughts]
    return _panel("thoughts (private)", Tail(runs), "yellow")


def _conversation(state: ConversationState) -> RenderableType:
    runs: list[tuple[str, str]] = []
    for who, text in state.said:
        runs.append(
            (("> " if who == "user" else "") + text.strip() + "\n\n", "bold" if who == "user" else "")
        )
    return _panel("answer", Tail([*runs, (state.text.lstrip(), "")]), "green")


def _panel(title: str, text: Tail, colour: str) -> Panel:
    return Panel(
        text, box=box.ROUNDED, title=Text(title, f"bold {colour}"), title_align="left", border_style=colour
    )


def _typed(typed: str, width: int) -> Text:
    line = Text("> ", "bold magenta", no_wrap=True)
    if not typed:
        return line.append(_KEYS, "dim")
    return line.append(printable(typed)[-max(1, width - 4) :]).append("▏", "blink")
