"""How many columns and rows of panes fill an area best."""

from __future__ import annotations

from typing import NamedTuple

_CELL_ASPECT = 2.2  # a terminal's character cell is about this much higher than wide
_GOOD_WIDTH, _USELESS_WIDTH = 26, 4  # columns: more than the first gains little, the second shows nothing
_NAME_WIDTH = 12  # columns that show a name and a word
_GOOD_HEIGHT = 6  # lines, the title's included


class Grid(NamedTuple):
    """Panes side by side and above each other; `row_height` lines each."""

    columns: int
    rows: int
    row_height: int


def choose_grid(panes: int, width: int, height: int) -> Grid:
    """The grid whose panes are easiest to read in an area of `width` by `height` cells.

    `rows * row_height <= height` always holds; where not even one line a pane fits, `columns * rows` is less
    than `panes`, and the caller leaves some out.
    """
    panes, height = max(1, panes), max(1, height)

    def quality(columns: int) -> tuple[float, float]:
        pane_width, pane_height = width // columns, height // _rows(panes, columns)
        wide_enough = min(1.0, max(0, pane_width - _USELESS_WIDTH) / (_GOOD_WIDTH - _USELESS_WIDTH))
        high_enough = min(1.0, pane_height / _GOOD_HEIGHT)
        filled = panes / (_rows(panes, columns) * columns)
        return wide_enough * high_enough * filled**0.5, min(pane_width / _CELL_ASPECT, pane_height)

    columns = max(range(1, panes + 1), key=quality)
    if quality(columns)[0] == 0:  # not all can be read: some, then
        columns = max(1, min(panes, width // _NAME_WIDTH))
    rows = min(_rows(panes, columns), height)
    return Grid(columns, rows, height // rows)


def _rows(panes: int, columns: int) -> int:
    return -(-panes // columns)
