"""How many columns and rows of panes fill an area best."""

from __future__ import annotations

from typing import NamedTuple

READABLE_WIDTH, LEAST_WIDTH = 20, 12  # columns: narrower panes only if there is no other way
_CELL_ASPECT = 2.2  # a terminal's character cell is about this much higher than wide


class Grid(NamedTuple):
    """Panes side by side and above each other; `row_height` lines each."""

    columns: int
    rows: int
    row_height: int


def choose_grid(panes: int, width: int, height: int) -> Grid:
    """The grid whose panes are nearest to readable in an area of `width` by `height` cells.

    Panes that do not fit even at one line each are for the caller to leave out: rows * row_height <= height
    always holds, and columns * rows may be less than `panes`.
    """

    def quality(columns: int) -> tuple[bool, bool, bool, float, int]:
        pane_width, pane_height = width // columns, height // -(-panes // columns)
        return (
            pane_height >= 1,
            pane_width >= LEAST_WIDTH,
            pane_width >= READABLE_WIDTH,
            min(pane_width / _CELL_ASPECT, pane_height),
            -abs(columns * -(-panes // columns) - panes),  # fewer empty places
        )

    height = max(1, height)
    columns = max(range(1, max(1, panes) + 1), key=quality)
    rows = min(-(-panes // columns), height)
    return Grid(columns, rows, height // max(1, rows))
