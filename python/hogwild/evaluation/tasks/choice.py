"""Tasks by name."""

from __future__ import annotations

from pathlib import Path

from hogwild.errors import UnknownNameError
from hogwild.evaluation.tasks.five import ArithmeticFive, Gsm8kFive
from hogwild.evaluation.tasks.lettered import Gpqa, MmluPro
from hogwild.evaluation.tasks.livecode import LiveCodeBench
from hogwild.evaluation.tasks.local import LocalTask
from hogwild.evaluation.tasks.math import Aime25, Gsm8k, Limo, Math500
from hogwild.evaluation.tasks.olympiad import OlympiadMaths, OlympiadPhysics
from hogwild.evaluation.tasks.source import SUFFIXES, TaskError
from hogwild.evaluation.tasks.task import Task

_OF_DATA = {
    cls.name: cls
    for cls in (Gsm8kFive, Gsm8k, Math500, Limo, Aime25, OlympiadMaths, OlympiadPhysics, MmluPro, Gpqa)
}
TASKS = (ArithmeticFive.name, *_OF_DATA, LiveCodeBench.name)


def make_task(name: str, data: Path | None = None, *, run_code: bool = False, seed: int = 0) -> Task:
    """The task of that name, or one of a file of {"problem", "answer"} rows.

    Args:
        name: one of `TASKS`, or the path of a JSONL or Parquet file.
        data: a local file with the rows of the task's data set.
        run_code: allows tasks that run programs which a model writes.
        seed: of the problems of a task that makes its own.

    Raises:
        UnknownNameError: there is no such task.
        TaskError: the task needs `run_code`, or has no use for `data`.
        SandboxError: a task that runs code, on a machine that cannot confine it.
    """
    is_file = name.endswith(SUFFIXES)
    if data is not None and (is_file or name == ArithmeticFive.name):
        raise TaskError(f"data: task {name!r} reads no other file, got {data}")
    if is_file:
        return LocalTask(Path(name))
    if name == ArithmeticFive.name:
        return ArithmeticFive(seed)
    if name == LiveCodeBench.name:
        return LiveCodeBench(data, run_code)
    if name in _OF_DATA:
        return _OF_DATA[name](data)
    raise UnknownNameError("task", name, TASKS, hint="or a JSONL or Parquet file of problems and answers")
