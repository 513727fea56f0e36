"""Writes the README's benchmark tables from the files in bench/results.

A table stands between two markers, the first of which names the file without its suffix:

    <!-- bench: h100-cache -->
    ...
    <!-- end -->

A file may have several tables. Words after its name select rows, and `columns=` spreads a parameter over columns; the
cells of such a wide table are our times alone, with their ratio to the plain read:

    <!-- bench: h100-attention q_heads=40 head_dim=64,256 columns=W -->

Without arguments the tables are written anew; with --check nothing is written, and the exit status is 1 if a
table is not what its file says. Either way it is 1 if a marker has no partner or selects nothing, if a file in
bench/results has no table, or if a file lacks fields that it must have.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"benchmark", "device", "date", "commit", "versions", "method", "rows"}
ROW_FIELDS = {"case", "us", "baselines"}
MARKER = re.compile(r"<!-- (?:bench:|end\b)")
TABLE = re.compile(
    r"(<!-- bench: (?P<name>[\w.-]+)(?P<words>(?: \w+=\S+)*) -->\n)(?:(?!<!-- bench:).)*?(<!-- end -->)",
    re.DOTALL,
)
NOT_PARAMETERS = {*ROW_FIELDS, "read_us", "bytes", "launch"}


class MarkerError(ValueError):
    """The README's markers are not those of one table for each file of results."""


class ResultError(ValueError):
    """A file of results is missing or malformed."""


def load(path: Path) -> dict[str, Any]:
    """Reads one file of results; ResultError names what is missing."""
    if not path.is_file():
        raise ResultError(
            f"the README has a table of {path.name}, but there is no such file in {path.parent}"
        )
    result = json.loads(path.read_text())
    if missing := FIELDS - result.keys():
        raise ResultError(f"{path.name} lacks {', '.join(sorted(missing))}")
    if not result["rows"]:
        raise ResultError(f"{path.name} has no rows")
    for i, row in enumerate(result["rows"]):
        if missing := ROW_FIELDS - row.keys():
            raise ResultError(f"{path.name}: row {i} lacks {', '.join(sorted(missing))}")
    return result


def select(result: dict[str, Any], selection: dict[str, str]) -> dict[str, Any]:
    """The result with only those rows whose parameters have one of the values (separated by commas) asked for."""
    rows = result["rows"]
    for parameter, values in selection.items():
        rows = [row for row in rows if str(row.get(parameter)) in values.split(",")]
        if not rows:
            raise MarkerError(f"no row of {result['benchmark']} that is left has {parameter}={values}")
    return {**result, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Markdown of a result: a line for each row; ratios to baselines in brackets."""
    rows = result["rows"]
    same, varying = _parameters(rows)
    baselines = list(dict.fromkeys(name for row in rows for name in row["baselines"]))
    with_read = any("read_us" in row for row in rows)
    header = [*varying, "µs", *(["plain read"] if with_read else []), *baselines]
    lines = []
    for row in rows:
        others = [row["baselines"].get(name) for name in baselines]
        if with_read:
            others.insert(0, row.get("read_us"))
        timings = [_value(row["us"]), *(_with_ratio(other, row["us"]) for other in others)]
        lines.append([*(_value(row.get(p)) for p in varying), *timings])
    return _markdown(_caption(result, same), header, lines)


def wide_table(result: dict[str, Any], spread: str) -> str:
    """Markdown of a result with a column for each value of one parameter; ratios to the plain read in brackets."""
    rows = result["rows"]
    if any(spread not in row for row in rows):
        raise MarkerError(f"columns={spread}, but not every row of {result['benchmark']} has {spread}")
    same, varying = _parameters(rows)
    same, varying = ([p for p in names if p != spread] for names in (same, varying))
    columns = list(dict.fromkeys(row[spread] for row in rows))
    cells: dict[tuple[str, ...], dict[Any, str]] = {}
    for row in rows:
        line = cells.setdefault(tuple(_value(row.get(p)) for p in varying), {})
        if row[spread] in line:
            raise MarkerError(f"columns={spread} finds several rows of {result['benchmark']} for one cell")
        read_us = row.get("read_us")
        line[row[spread]] = _value(row["us"]) + (f" ({row['us'] / read_us:.2f}x)" if read_us else "")
    header = [*varying, *(f"{spread} = {_value(column)}" for column in columns)]
    lines = [[*names, *(line.get(column, "") for column in columns)] for names, line in cells.items()]
    unit = (
        " In µs (and as multiples of a plain read)." if any("read_us" in row for row in rows) else " In µs."
    )
    return _markdown(_caption(result, same) + unit, header, lines)


def render(text: str, results: Path) -> str:
    """The text with every table in it made from its file."""

    def rendered(match: re.Match[str]) -> str:
        selection = dict(word.split("=", 1) for word in match["words"].split())
        spread = selection.pop("columns", None)
        result = select(load(results / f"{match['name']}.json"), selection)
        return match[1] + (table(result) if spread is None else wide_table(result, spread)) + match[4]

    return TABLE.sub(rendered, text)


def check_markers(text: str, results: Path) -> None:
    """Raises MarkerError where a table lacks one of its markers, or a file of results its table."""
    tables = [match["name"] for match in TABLE.finditer(text)]
    if (markers := len(MARKER.findall(text))) != 2 * len(tables):
        raise MarkerError(
            f"{markers} markers, but {len(tables)} tables between <!-- bench: NAME --> and <!-- end -->"
        )
    if missing := sorted({path.stem for path in results.glob("*.json")} - {*tables}):
        raise MarkerError(f"no table (<!-- bench: NAME --> and <!-- end -->) of: {', '.join(missing)}")


def _parameters(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The names of the parameters that are the same in all of several rows, and of the others."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in NOT_PARAMETERS))
    if len({row["case"] for row in rows}) > 1:
        names.insert(0, "case")
    same = [p for p in names if len(rows) > 1 and len({json.dumps(row.get(p)) for row in rows}) == 1]
    return same, [p for p in names if p not in same]


def _caption(result: dict[str, Any], same: list[str]) -> str:
    """Where the numbers are from, and what all rows have in common."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    commit = re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", result["commit"])  # a "-dirty" stays
    constants = "".join(f", {p} {_value(result['rows'][0].get(p))}" for p in same)
    return f"{result['device']}, {result['date']}, commit {commit}, {versions}{constants}."


def _markdown(caption: str, header: list[str], lines: list[list[str]]) -> str:
    cells = [header, ["---"] * len(header), *lines]
    return "\n".join([caption, "", *(f"| {' | '.join(line)} |" for line in cells)]) + "\n"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _with_ratio(other: float | None, ours: float) -> str:
    """The other's time, and how many times it ours takes."""
    return "" if other is None else f"{_value(float(other))} ({ours / other:.2f}x)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table is stale")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    arguments = parser.parse_args()

    before = arguments.readme.read_text()
    try:
        for path in sorted(arguments.results.glob("*.json")):
            load(path)
        check_markers(before, arguments.results)
        after = render(before, arguments.results)
    except MarkerError as error:
        print(f"error: {arguments.readme.name}: {error}", file=sys.stderr)
        return 1
    except (ResultError, json.JSONDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not arguments.check:
        arguments.readme.write_text(after)
    elif before != after:
        print(
            f"error: {arguments.readme.name}'s tables are stale: run scripts/readme_tables.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
