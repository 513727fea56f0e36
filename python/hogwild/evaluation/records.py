"""What came of each problem, in a JSONL file that a run which was stopped goes on with."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from hogwild.errors import HogwildError

FORMAT = "hogwild-samples"
VERSION = 1


class RecordsError(HogwildError, ValueError):
    """A file of records cannot be read, or was made with other settings; the message names the file."""


@dataclass(frozen=True)
class Point:
    """The answer of one run within one budget.

    Attributes:
        budget: sequential forwards that the run might take.
        answer: what it answered; None if nothing.
        given: the run gave the answer by itself; otherwise it was asked for it when the budget was spent.
        forwards: sequential forwards that it took.
        seconds: how long they took, without those that only wrote early answers.
        score: how right the answer is, from 0 to 1.
    """

    budget: int
    answer: str | None
    given: bool
    forwards: int
    seconds: float
    score: float


@dataclass(frozen=True)
class Record:
    """One run of a method on a problem.

    Attributes:
        problem: the problem's id.
        seed: of the run's random draws.
        points: one for each budget, ascending; none of a run that failed.
        finish: why the run ended, one of `hogwild.engine.events.FINISH_REASONS`.
        forwards, tokens, seconds: of the whole run: all its forwards, the tokens that all workers sampled.
        texts: per worker what it wrote.
        error: what ended the run, if an error did; then all its answers are missing.
    """

    problem: str
    seed: int
    points: tuple[Point, ...]
    finish: str = "max_forwards"
    forwards: int = 0
    tokens: int = 0
    seconds: float = 0.0
    texts: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other records of a file."""
        return self.problem, self.seed

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Record:
        """Undo `dataclasses.asdict`.

        Raises:
            TypeError, KeyError: a field is missing or unknown.
        """
        points = tuple(Point(**point) for point in values["points"])
        return Record(**{**values, "points": points})


class Line(Protocol):
    """A record of whatever kind; a dataclass."""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other records of a file."""

    @property
    def error(self) -> str:
        """What ended the run, if an error did."""


_L = TypeVar("_L", bound=Line)
_F = TypeVar("_F", bound="LineFile[Any]")


class LineFile(ABC, Generic[_L]):
    """Records of one kind on disk: a first line with the settings, then one line a record.

    Every record is on the disk before the next one begins, so a program that is killed loses only runs that
    were not finished. A line that was cut off then is removed when the file is opened again. Runs that failed
    are tried again; their later record counts.

    Args:
        path: the file; its folder must exist.
        settings: what the records depend on, as JSON values; an existing file must have the same.

    Raises:
        RecordsError: the file is something else, or has other settings.
    """

    format: ClassVar[str]  # what the first line calls such files

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        self.records: dict[tuple[str, int], _L] = {}
        if path.exists() and path.stat().st_size:
            self._resume()
        self._file = open(path, "a", encoding="utf-8")
        if not path.stat().st_size:
            self._line(self._header())

    def has(self, problem: str, seed: int) -> bool:
        """Whether there is a record of that run that did not fail."""
        record = self.records.get((problem, seed))
        return record is not None and not record.error

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> _L:
        """A record from what `dataclasses.asdict` made of it."""

    def add(self, record: _L) -> None:
        """Write one record."""
        self.records[record.key] = record
        self._line(json.dumps(asdict(record), ensure_ascii=False))  # type: ignore[call-overload]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _resume(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole == 0 and self._header().encode().startswith(content):
            os.truncate(self.path, 0)
            return
        made_with, records = self.read(self.path)
        if made_with != self.settings:
            difference = _difference(made_with, self.settings)
            raise RecordsError(f"{self.path} was made with {difference}; choose another folder")
        os.truncate(self.path, whole)
        self.records = {record.key: record for record in records}

    def _header(self) -> str:
        return json.dumps(
            {"format": self.format, "version": VERSION, "settings": self.settings}, ensure_ascii=False
        )

    def _line(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self: _F) -> _F:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def read(cls, path: Path) -> tuple[dict[str, Any], list[_L]]:
        """Settings and records of a file, of each run the last record. An unfinished last line is overlooked.

        Raises:
            RecordsError: the file is something else, of another version, or broken in the middle.
            OSError: it cannot be read.
        """
        *lines, _unfinished = path.read_text(encoding="utf-8", errors="replace").split("\n")
        header = _json(lines[0]) if lines else None
        if not isinstance(header, dict) or header.get("format") != cls.format:
            raise RecordsError(f"{path}: not a file of records (expected a first line with {cls.format!r})")
        if header.get("version") != VERSION:
            raise RecordsError(
                f"{path}: written in version {header.get('version')!r} of the format; this program reads {VERSION}"
            )
        records: dict[tuple[str, int], _L] = {}
        for number, line in enumerate(lines[1:], start=2):
            try:
                record = cls.from_dict(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise RecordsError(f"{path}, line {number}: not a record: {error}") from error
            records[record.key] = record
        return header["settings"], list(records.values())


class RecordFile(LineFile[Record]):
    """Answers within budgets on disk."""

    format = FORMAT

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        return Record.from_dict(values)


def read_records(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """`RecordFile.read`."""
    return RecordFile.read(path)


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _difference(made_with: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first setting that differs, in words."""
    for name in sorted({*made_with, *asked}):
        if made_with.get(name) != asked.get(name):
            return f"{name} {json.dumps(made_with.get(name))} instead of {json.dumps(asked.get(name))}"
    return "other settings"
