"""Files and folders for results are tried before there are any, and nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hogwild.cli.writable import check_file, check_folder, check_results, check_trace


def test_files_that_can_be_written(tmp_path):
    old = tmp_path / "old"
    old.write_text("as before")
    (tmp_path / "link").symlink_to(old)
    (tmp_path / "dangling").symlink_to(tmp_path / "later")
    for name in ("old", "new", "link", "dangling"):
        check_file("--trace", tmp_path / name)
    assert old.read_text() == "as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "link", "old"]


def test_files_that_cannot_be_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "file")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "file").write_text("")
    for name in ("link", "circle", "nowhere/file", "file/below", ".", "x" * 300):
        with pytest.raises(ValueError, match=r"--trace: cannot write .*: expected a file in a folder"):
            check_file("--trace", tmp_path / name)
    with pytest.raises(ValueError, match="--trace: cannot write /proc/x"):
        check_file("--trace", Path("/proc/x"))


def test_a_trace_replaces_a_trace_and_no_other_file(tmp_path):
    (tmp_path / "notes.md").write_text("# Mine\n")
    (tmp_path / "long").write_text("x" * 5000)
    (tmp_path / "samples.jsonl").write_text('{"format": "hogwild-samples", "version": 1}\n')
    (tmp_path / "link").symlink_to(tmp_path / "notes.md")
    (tmp_path / "empty").write_text("")
    (tmp_path / "old.jsonl").write_text('{"format": "hogwild-trace", "version": 0}\n')
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for name in ("new", "empty", "old.jsonl"):
        check_trace("--trace", tmp_path / name)
    check_trace("--trace", Path("/dev/null"))
    for name in ("notes.md", "long", "samples.jsonl", "link"):
        with pytest.raises(
            ValueError, match=rf"--trace: .*{name} is there, and not a recorded run: expected"
        ):
            check_trace("--trace", tmp_path / name)
    with pytest.raises(ValueError, match="--trace: cannot write"):
        check_trace("--trace", tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_results_replace_no_other_files(tmp_path):
    check_results("--output", tmp_path / "new", ["report.md"], ["samples"])
    check_results("--output", tmp_path, ["report.md"], ["samples"])
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(
        ValueError, match=r"--output: .*report.md would be replaced, and is not of an earlier"
    ):
        check_results("--output", tmp_path, ["report.html", "report.md"], ["samples", "delays"])
    (tmp_path / "delays").mkdir()
    check_results("--output", tmp_path, ["report.md"], ["samples", "delays"])


def test_folders(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("new", "new/below", "."):
        check_folder("--output", tmp_path / name)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/x")):
        with pytest.raises(ValueError, match=r"--output: cannot write to .*: expected a folder"):
            check_folder("--output", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
