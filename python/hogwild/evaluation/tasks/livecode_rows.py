"""Rows of LiveCodeBench: what they hold, checked, since local copies of the data set may hold anything."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zlib
from datetime import date
from typing import Any

from hogwild.evaluation.tasks.source import Row, TaskError
from hogwild.evaluation.tasks.task import Problem

FIELDS = ("question_id", "question_content", "contest_date", "public_test_cases", "private_test_cases")


def contest_date(row: Row, where: str) -> date:
    """The day of the contest.

    Raises:
        TaskError: field 'contest_date' is none; the message begins with `where`.
    """
    value = row["contest_date"]
    try:
        if isinstance(value, (str, date)):  # a Parquet file may have a column of dates
            return date.fromisoformat(str(value)[:10])
    except ValueError:
        pass
    raise _unexpected(
        f"{where}: field 'contest_date'", "a date like '2024-09-01' or '2024-09-01T00:00:00'", value
    )


def problem_of(row: Row, where: str) -> Problem:
    """The problem that a row asks. It expects a list of {"given", "wanted", "function"}, see `programs.Test`.

    Raises:
        TaskError: the row holds something else than it should; the message begins with `where`.
    """
    identity = row["question_id"]
    if not isinstance(identity, (str, int)):
        raise _unexpected(f"{where}: field 'question_id'", "text or a whole number", identity)
    where = f"{where}, question {identity}"
    question = _text(row, "question_content", where).strip()
    starter = _text(row, "starter_code", where).strip()
    if starter:
        form = f"Complete this Python code and keep its names:\n\n```python\n{starter}\n```"
    else:
        form = "Write a Python program that reads from standard input and writes to standard output."
    tests = _tests(row, where)
    return Problem(f"livecodebench-{identity}", f"{question}\n\n{form}", tests, f"{len(tests)} tests")


def _tests(row: Row, where: str) -> list[dict[str, str | None]]:
    """All tests, at least one, without which every program would pass."""
    cases = [
        case for name in ("public_test_cases", "private_test_cases") for case in _cases(row, name, where)
    ]
    if not cases:
        raise TaskError(
            f"{where}: fields 'public_test_cases', 'private_test_cases': expected at least one test"
        )
    called = any(case.get("testtype") == "functional" for case in cases)
    function = _function(row, where) if called else None
    return [
        {
            "given": case["input"],
            "wanted": case["output"],
            "function": function if case.get("testtype") == "functional" else None,
        }
        for case in cases
    ]


def _function(row: Row, where: str) -> str:
    """The name of the function that functional tests call."""
    where, expected = (
        f"{where}: field 'metadata'",
        "a JSON object with text in 'func_name', since tests call it",
    )
    metadata = row.get("metadata")
    try:
        name = json.loads(metadata)["func_name"] if isinstance(metadata, str) else None
    except (ValueError, TypeError, LookupError):
        name = None
    if not isinstance(name, str) or not name:
        raise _unexpected(where, expected, metadata)
    return name


def _cases(row: Row, name: str, where: str) -> list[dict[str, str]]:
    """Test cases in JSON, or in JSON that is pickled, compressed and in base64, as the private ones are."""
    text, where = _text(row, name, where), f"{where}: field {name!r}"
    if not text.lstrip().startswith("["):
        text = _unpacked(text, where)
    try:
        cases = json.loads(text)
    except ValueError as error:
        raise TaskError(f"{where}: expected tests in JSON: {error}") from error
    if not isinstance(cases, list):
        raise _unexpected(where, "a list of tests in JSON", cases)
    for number, case in enumerate(cases, start=1):
        here = f"{where}, test {number}"
        if (
            not isinstance(case, dict)
            or not isinstance(case.get("input"), str)
            or not isinstance(case.get("output"), str)
        ):
            raise _unexpected(here, "an object with text in 'input' and 'output'", case)
        if case.get("testtype", "stdin") not in ("stdin", "functional"):
            raise _unexpected(here, "'testtype' to be 'stdin' or 'functional'", case["testtype"])
    return cases


class _TextOnly(pickle.Unpickler):
    """Reads pickled texts. Whatever else a pickle might construct is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only text is expected")


def _unpacked(packed: str, where: str) -> str:
    try:
        text = _TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load()
    except Exception as error:  # a broken pickle raises nearly anything
        raise TaskError(
            f"{where}: expected tests in JSON, or such JSON pickled, compressed and in base64: {error}"
        ) from error
    if not isinstance(text, str):
        raise _unexpected(where, "pickled text", text)
    return text


def _text(row: Row, name: str, where: str) -> str:
    """A field's text; nothing where the row does not have it."""
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise _unexpected(f"{where}: field {name!r}", "text", value)
    return value or ""


def _unexpected(where: str, expected: str, got: Any) -> TaskError:
    shown = repr(got)
    return TaskError(f"{where}: expected {expected}, got {shown[:57] + '...' if len(shown) > 60 else shown}")
