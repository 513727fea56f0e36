"""Rows of a data set: from the hub, or from a local file with the same fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hogwild.errors import HogwildError
from hogwild.evaluation.extras import need

SUFFIXES = (".jsonl", ".json", ".parquet")

Row = dict[str, Any]


class TaskError(HogwildError, ValueError):
    """A task's data cannot be loaded, or lacks what the task needs; the message names the data and the place."""


@dataclass(frozen=True)
class Source:
    """A data set of the Hugging Face hub.

    Attributes:
        path: its id.
        split: which part of it.
        config: which of its configurations, if it has several.
        files: JSONL files to read instead of the data set as the hub presents it.
        fields: what every row must have.
    """

    path: str
    split: str
    fields: tuple[str, ...]
    config: str | None = None
    files: tuple[str, ...] = ()

    def rows(self, data: Path | None = None) -> list[Row]:
        """All rows, of the hub's data set or of the file `data`, which has the same fields.

        Raises:
            TaskError: they cannot be loaded, there are none, or a field is missing.
        """
        if data is not None:
            rows, where = read_file(data), str(data)
        else:
            rows, where = self._from_hub(), f"data set {self.path!r}"
        check_fields(rows, self.fields, where)
        return rows

    def _from_hub(self) -> list[Row]:
        try:
            if self.files:
                return [row for name in self.files for row in _read_jsonl(self._fetch(name))]
            datasets = need("datasets", f"data set {self.path!r}")
            return list(datasets.load_dataset(self.path, self.config, split=self.split))
        except HogwildError:
            raise
        except Exception as error:  # of the hub, the network, the cache on disk, or the data's own format
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TaskError(
                f"data set {self.path!r} cannot be loaded: {reason}; a local copy of it, as JSONL or Parquet, "
                "can be given with --data"
            ) from error

    def _fetch(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.path, name, repo_type="dataset"))


def read_file(path: Path) -> list[Row]:
    """Rows of a JSONL or Parquet file.

    Raises:
        TaskError: there is no such file, it is of another kind, or it cannot be read.
    """
    if not path.is_file():
        raise TaskError(f"{path}: there is no such file")
    if path.suffix not in SUFFIXES:
        raise TaskError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix != ".parquet":
        try:
            return list(_read_jsonl(path))
        except UnicodeDecodeError as error:
            raise TaskError(f"{path}: not text in UTF-8: {error}") from error
    parquet = need("pyarrow.parquet", str(path))
    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: not a Parquet file: {error}") from error


def _read_jsonl(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig") as file:  # some programs write a byte order mark
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TaskError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise TaskError(f"{path}, line {number}: expected a JSON object a line, got {line[:40]!r}")
            yield row


def check_fields(rows: Sequence[Row], fields: Sequence[str], where: str) -> None:
    """Refuse rows that lack one of `fields`.

    Raises:
        TaskError: there are no rows, or the first one that lacks a field, or has one without text or with half of a
            character, which JSON can spell and nothing can encode.
    """
    if not rows:
        raise TaskError(f"{where}: there are no rows")
    for number, row in enumerate(rows, start=1):
        where_row = f"{where}, row {number}"
        if missing := [name for name in fields if row.get(name) is None]:
            raise TaskError(
                f"{where_row}: no field {', '.join(map(repr, missing))}; it has {', '.join(row)}, "
                f"and {', '.join(fields)} are needed"
            )
        if empty := [name for name in fields if not str(row[name]).strip()]:
            raise TaskError(f"{where_row}: nothing in field {', '.join(map(repr, empty))}")
        for name in fields:
            try:
                str(row[name]).encode()
            except UnicodeEncodeError as error:
                half = str(row[name])[error.start]
                raise TaskError(
                    f"{where_row}: field {name!r}: expected text in Unicode, got {half!r} at {error.start}"
                ) from None
