"""The end of a long text, wrapped: what fits into the lines that are there."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from hogwild.cli.text import printable

_CUT_GRID = 512  # cuts fall on multiples of this, so lines do not reflow with every token


def last_characters(runs: Sequence[tuple[str, str]], wanted: int) -> list[tuple[str, str]]:
    """The end of styled runs of text: at least `wanted` characters, cut at a place that rarely moves."""
    total = sum(len(text) for text, _ in runs)
    skip = max(0, total - wanted)
    skip -= skip % _CUT_GRID
    kept = []
    for text, style in runs:
        if skip < len(text):
            kept.append((text[skip:], style))
        skip = max(0, skip - len(text))
    return kept


class Tail:
    """Runs of (text, style), of which the last lines are shown if not all fit.

    The text is never read as markup, and control characters are shown, not obeyed.
    """

    def __init__(self, runs: Sequence[tuple[str, str]]) -> None:
        self.runs = runs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(1, options.max_width)
        height = options.height or options.max_height
        text = Text(overflow="fold")
        for run, style in last_characters(self.runs, 2 * width * height):
            text.append(printable(run).lstrip() if not text else printable(run), style)
        text.rstrip()
        yield from text.wrap(console, width)[-height:]
