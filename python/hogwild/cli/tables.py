"""Tables of figures on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

__all__ = ["figures_table"]


def figures_table(title: str, name: str, figures: Sequence[str]) -> Table:
    """A table with a column of names and columns of figures: in little room names are broken, figures are whole."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(name, overflow="fold", min_width=10)
    for figure in figures:
        table.add_column(figure, justify="right", no_wrap=True)
    return table
