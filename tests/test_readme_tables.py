"""The README's benchmark tables: what scripts/readme_tables.py writes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Tables:
    """scripts/readme_tables.py on a README and a folder of results of its own."""

    header: ClassVar = {
        "benchmark": "b",
        "device": "d",
        "date": "2026-01-01",
        "commit": "c" * 40 + "-dirty",
        "versions": {},
        "method": "m",
    }

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.readme = folder / "README.md"

    def write_result(self, name: str, rows: list[dict]) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps({**self.header, "rows": rows}))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = [sys.executable, str(ROOT / "scripts" / "readme_tables.py"), "--readme", str(self.readme)]
        script += ["--results", str(self.folder), *arguments]
        return subprocess.run(script, capture_output=True, text=True, check=False)

    def status(self, *arguments: str) -> int:
        return self.run(*arguments).returncode


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def test_readme_tables_that_are_stale_or_missing_are_seen(tables: Tables) -> None:
    row = {"case": "move", "tokens": 64, "us": 5.0, "read_us": 4.0, "baselines": {"copy": 10.0}}
    rows = [row, {**row, "tokens": 128}]
    tables.write_result("d-b", rows)
    readme = tables.readme
    readme.write_text("before\n<!-- bench: d-b -->\nold\n<!-- end -->\nafter\n")

    assert tables.status("--check") == 1
    assert tables.status() == 0 and tables.status("--check") == 0
    good = readme.read_text()
    assert "| 64 | 5 | 4 (1.25x) | 10 (0.50x) |" in good and f"commit {'c' * 12}-dirty" in good

    without_start, without_end = good.replace("<!-- bench: d-b -->", ""), good.replace("<!-- end -->", "")
    without_both = without_start.replace("<!-- end -->", "")
    for bad in (without_start, without_end, without_both, without_end + good):
        readme.write_text(bad)
        assert tables.status("--check") == 1
        assert tables.status() == 1 and readme.read_text() == bad
    readme.write_text(good)
    assert tables.status("--check") == 0

    tables.write_result("d-c", rows)
    assert tables.status("--check") == 1
    (tables.folder / "d-c.json").unlink()
    tables.write_result("d-b", [])
    assert tables.status("--check") == 1


def attention_rows() -> list[dict]:
    """Lengths and workers of two head dims; "launch" is no parameter."""
    return [
        {"case": "decode", "L": tokens, "W": workers, "head_dim": head_dim}
        | {"us": float(workers * head_dim), "read_us": 64.0, "bytes": 1}
        | {"baselines": {"empty launch": 4.0}, "launch": {"ctas": workers}}
        for head_dim in (64, 128)
        for tokens in (300, 4096)
        for workers in (1, 8)
        if (tokens, workers) != (4096, 1)
    ]


def test_readme_tables_of_a_part_of_a_file(tables: Tables) -> None:
    tables.write_result("d-b", attention_rows())
    tables.readme.write_text(
        "<!-- bench: d-b head_dim=64 columns=W -->\n<!-- end -->\n"
        "<!-- bench: d-b L=300,4096 W=8 head_dim=128 -->\nold\n<!-- end -->\n"
        "<!-- bench: d-b columns=W -->\nold\n<!-- end -->\n"
    )
    assert tables.status("--check") == 1
    assert tables.status() == 0 and tables.status("--check") == 0
    narrow, selected, wide, _ = tables.readme.read_text().split("<!-- end -->\n")
    assert ", head_dim 64. In µs (and as multiples of a plain read).\n" in narrow
    assert narrow.splitlines()[3:] == [
        "| L | W = 1 | W = 8 |",
        "| --- | --- | --- |",
        "| 300 | 64 (1.00x) | 512 (8.00x) |",
        "| 4,096 |  | 512 (8.00x) |",
    ]
    assert ", W 8, head_dim 128.\n" in selected
    assert selected.splitlines()[3:] == [
        "| L | µs | plain read | empty launch |",
        "| --- | --- | --- | --- |",
        "| 300 | 1,024 | 64 (16.00x) | 4 (256.00x) |",
        "| 4,096 | 1,024 | 64 (16.00x) | 4 (256.00x) |",
    ]
    assert wide.splitlines()[3] == "| L | head_dim | W = 1 | W = 8 |"
    assert wide.splitlines()[7:] == [
        "| 300 | 128 | 128 (2.00x) | 1,024 (16.00x) |",
        "| 4,096 | 128 |  | 1,024 (16.00x) |",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("head_dim=96", "no row of b that is left has head_dim=96"),
        ("head_dims=64", "no row of b that is left has head_dims=64"),
        ("columns=workers", "not every row of b has workers"),
        ("head_dim", "2 markers, but 0 tables"),
    ],
)
def test_a_readme_marker_that_selects_nothing_is_named(words: str, message: str, tables: Tables) -> None:
    tables.write_result("d-b", attention_rows())
    text = f"<!-- bench: d-b {words} -->\n<!-- end -->\n"
    tables.readme.write_text(text)
    for arguments in (["--check"], []):
        done = tables.run(*arguments)
        assert done.returncode == 1 and message in done.stderr
    assert tables.readme.read_text() == text


def test_a_wide_readme_table_has_one_row_for_each_cell(tables: Tables) -> None:
    tables.write_result("d-b", [*attention_rows(), attention_rows()[0]])
    tables.readme.write_text("<!-- bench: d-b columns=W -->\n<!-- end -->\n")
    done = tables.run()
    assert done.returncode == 1 and "columns=W finds several rows of b for one cell" in done.stderr
