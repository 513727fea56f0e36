"""Records on disk: a run that was stopped goes on, and nothing is mixed up."""

from __future__ import annotations

import json

import pytest

from hogwild.evaluation.budgets import check_budgets, parse_budgets
from hogwild.evaluation.records import Point, Record, RecordFile, RecordsError, read_records

SETTINGS = {"task": "arith-x5", "budgets": [8, 16]}


def make_record(problem="p0", seed=0, scores=(0.2, 0.8), budgets=(8, 16), **changes):
    points = tuple(
        Point(budget, "7", True, budget, budget / 10, score)
        for budget, score in zip(budgets, scores, strict=True)
    )
    return Record(problem, seed, points, "answer", 16, 32, 1.6, {"Ada": "se\u2028ven"}, **changes)


def test_records_come_back_as_they_were(tmp_path):
    path = tmp_path / "records.jsonl"
    with RecordFile(path, SETTINGS) as file:
        file.add(make_record())
        file.add(make_record("p1", 3))
    with RecordFile(path, SETTINGS) as file:
        assert file.has("p0", 0) and file.has("p1", 3) and not file.has("p1", 0)
        assert file.records["p0", 0] == make_record()
    assert read_records(path) == (SETTINGS, [make_record(), make_record("p1", 3)])


def test_a_line_that_was_cut_off_is_removed_and_written_again(tmp_path):
    path = tmp_path / "records.jsonl"
    with RecordFile(path, SETTINGS) as file:
        file.add(make_record("p0"))
        file.add(make_record("p1"))
    path.write_bytes(path.read_bytes()[:-20])
    with RecordFile(path, SETTINGS) as file:
        assert file.has("p0", 0) and not file.has("p1", 0)
        file.add(make_record("p1"))
    assert [record.problem for record in read_records(path)[1]] == ["p0", "p1"]
    assert path.read_text().count("\n") == 3


def test_a_file_that_was_cut_off_in_its_first_line_begins_anew(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"format": "hogw')
    with RecordFile(path, SETTINGS) as file:
        file.add(make_record())
    assert read_records(path) == (SETTINGS, [make_record()])


def test_a_failed_run_is_tried_again_and_its_later_record_counts(tmp_path):
    path = tmp_path / "records.jsonl"
    with RecordFile(path, SETTINGS) as file:
        file.add(make_record(error="no room"))
        assert not file.has("p0", 0)
        file.add(make_record())
        assert file.has("p0", 0)
    assert read_records(path)[1] == [make_record()]


def test_other_settings_are_refused_by_name_and_change_nothing(tmp_path):
    path = tmp_path / "records.jsonl"
    with RecordFile(path, SETTINGS) as file:
        file.add(make_record())
    before = path.read_bytes()
    with pytest.raises(RecordsError, match=r"budgets \[8, 16\] instead of \[8, 32\]; choose another folder"):
        RecordFile(path, {**SETTINGS, "budgets": [8, 32]})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello\n", "not a file of records"),
        ('{"format": "hogwild-samples", "version": 9, "settings": {}}\n', "version 9"),
        (
            '{"format": "hogwild-samples", "version": 1, "settings": {}}\n{"problem": 1}\n',
            "line 2: not a record",
        ),
        ("[" * 100_000 + "\n", "not a file of records"),
        (
            '{"format": "hogwild-samples", "version": 1, "settings": {}}\n' + "[" * 100_000 + "\n",
            "line 2: not a record",
        ),
    ],
)
def test_files_that_are_something_else(tmp_path, content, message):
    path = tmp_path / "records.jsonl"
    path.write_text(content)
    with pytest.raises(RecordsError, match=message):
        read_records(path)


def test_every_record_is_on_disk_at_once(tmp_path):
    path = tmp_path / "records.jsonl"
    file = RecordFile(path, SETTINGS)
    file.add(make_record())
    assert json.loads(path.read_text().strip().split("\n")[-1])["problem"] == "p0"
    file.close()


@pytest.mark.parametrize("budgets", [[], [0, 4], [4, 4], [8, 4], [-1]])
def test_budgets_must_ascend(budgets):
    with pytest.raises(ValueError, match="each larger than the one before"):
        check_budgets(budgets)


def test_budgets_from_text():
    assert parse_budgets("256, 512,1024") == (256, 512, 1024)
    with pytest.raises(ValueError, match="expected whole numbers with commas"):
        parse_budgets("256;512")
    with pytest.raises(TypeError, match=r"got 1\.5"):
        check_budgets([1.5])
