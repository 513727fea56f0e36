"""Writes the README's benchmark tables from the files in bench/results.

A table stands between two markers, the first of which names the file without its suffix:

    <!-- bench: h100-cache -->
    ...
    <!-- end -->

Without arguments the tables are written anew; with --check nothing is written, and the exit status is 1 if a
table is not what its file says. Either way it is 1 if a marker has no partner, if a file in bench/results has no
table, or if a file lacks fields that it must have.
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
TABLE = re.compile(r"(<!-- bench: ([\w.-]+) -->\n)(?:(?!<!-- bench:).)*?(<!-- end -->)", re.DOTALL)


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


def table(result: dict[str, Any]) -> str:
    """Markdown of one file: what all rows have in common stands above; ratios to baselines in brackets."""
    rows = result["rows"]
    parameters = list(
        dict.fromkeys(k for row in rows for k in row if k not in {*ROW_FIELDS, "read_us", "bytes"})
    )
    if len({row["case"] for row in rows}) > 1:
        parameters.insert(0, "case")
    same = [p for p in parameters if len(rows) > 1 and len({json.dumps(row.get(p)) for row in rows}) == 1]
    varying = [p for p in parameters if p not in same]
    baselines = list(dict.fromkeys(name for row in rows for name in row["baselines"]))
    with_read = any("read_us" in row for row in rows)

    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    commit = re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", result["commit"])  # a "-dirty" stays
    constants = "".join(f", {p} {_value(rows[0].get(p))}" for p in same)
    caption = f"{result['device']}, {result['date']}, commit {commit}, {versions}{constants}."
    header = [*varying, "µs", *(["plain read"] if with_read else []), *baselines]
    lines = [caption, "", _line(header), _line(["---"] * len(header))]
    for row in rows:
        others = [row["baselines"].get(name) for name in baselines]
        if with_read:
            others.insert(0, row.get("read_us"))
        timings = [_value(row["us"]), *(_with_ratio(other, row["us"]) for other in others)]
        lines.append(_line([*(_value(row.get(p)) for p in varying), *timings]))
    return "\n".join(lines) + "\n"


def render(text: str, results: Path) -> str:
    """The text with every table in it made from its file."""
    return TABLE.sub(lambda m: m[1] + table(load(results / f"{m[2]}.json")) + m[3], text)


def check_markers(text: str, results: Path) -> None:
    """Raises MarkerError where a table lacks one of its markers, or a file of results its table."""
    tables = [match[2] for match in TABLE.finditer(text)]
    if (markers := len(MARKER.findall(text))) != 2 * len(tables):
        raise MarkerError(
            f"{markers} markers, but {len(tables)} tables between <!-- bench: NAME --> and <!-- end -->"
        )
    if missing := sorted({path.stem for path in results.glob("*.json")} - {*tables}):
        raise MarkerError(f"no table (<!-- bench: NAME --> and <!-- end -->) of: {', '.join(missing)}")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
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
