"""The tasks of the evaluation."""

from hogwild.evaluation.tasks.choice import TASKS, make_task
from hogwild.evaluation.tasks.source import TaskError
from hogwild.evaluation.tasks.task import Problem, Task

__all__ = ["TASKS", "Problem", "Task", "TaskError", "make_task"]
