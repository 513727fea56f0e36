"""Verdicts on disk; what the judge has said already is not asked again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from hogwild.evaluation.judge.votes import Verdict
from hogwild.evaluation.records import RecordsError


class VerdictFile:
    """A JSONL file of verdicts, each with the name of the judge. Of several on one conversation the last counts.

    Args:
        path: the file; its folder must exist.
        judge: name of the model that judges now.
        votes: how many votes a complete verdict has.

    Raises:
        RecordsError: the file is something else.
    """

    def __init__(self, path: Path, judge: str, votes: int) -> None:
        self.path, self.judge, self.votes = path, judge, votes
        self._known = {verdict.name: verdict for verdict in _read(path, judge)} if path.exists() else {}
        self._file = open(path, "a", encoding="utf-8")

    def find(self, name: str, digest: str = "") -> Verdict | None:
        """This judge's complete verdict on a conversation, if there is one.

        Args:
            name: of the conversation.
            digest: of the conversation; a verdict on another text of the same name does not count.
        """
        verdict = self._known.get(name)
        if verdict is None or verdict.error or verdict.digest != digest or len(verdict.votes) != self.votes:
            return None
        return verdict

    def add(self, verdict: Verdict) -> None:
        """Write one verdict."""
        self._known[verdict.name] = verdict
        values = {"judge": self.judge, **asdict(verdict), "score": verdict.score}
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> VerdictFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _read(path: Path, judge: str) -> list[Verdict]:
    *lines, unfinished = path.read_text(encoding="utf-8", errors="replace").split("\n")
    verdicts = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            said_by = values.pop("judge")
            values.pop("score")
            verdict = Verdict(
                **{**values, "votes": tuple(values["votes"]), "replies": tuple(values["replies"])}
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RecordsError(f"{path}, line {number}: not a verdict: {error}") from error
        if said_by == judge:
            verdicts.append(verdict)
    if unfinished and not verdicts and not lines:
        raise RecordsError(f"{path}: not a file of verdicts")
    if unfinished:
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return verdicts
