"""Files and folders for results are tried before there are any, and nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hogwild.cli.writable import check_file, check_folder


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


def test_folders(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("new", "new/below", "."):
        check_folder("--output", tmp_path / name)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/x")):
        with pytest.raises(ValueError, match=r"--output: cannot write to .*: expected a folder"):
            check_folder("--output", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
