"""Names of workers, and the headers that tell readers and models whose text is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hogwild.prompting.steps import SEPARATOR

NAMES = (
    *("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi"),
    *("Ivan", "Judy", "Kevin", "Laura", "Mike", "Nina", "Oscar", "Peggy"),
)
MOST_WORKERS = 1000  # that are given names; some methods allow fewer


def worker_names(
    workers: int | Sequence[str], numbered: bool = False, most: int = MOST_WORKERS
) -> tuple[str, ...]:
    """Names of the workers.

    Args:
        workers: how many (Alice, Bob, Carol, ..., from the 17th on numbered), or their names.
        numbered: call them Worker 1, Worker 2, ...; only where `workers` is a number.
        most: how many there may be.

    Raises:
        ValueError: fewer than one worker or more than `most`, an empty name or one that is no text, a name twice,
            or names that are to be numbers.
        TypeError: neither a number nor names.
    """
    if isinstance(workers, int) and not isinstance(workers, bool):
        if workers < 1:
            raise ValueError(f"workers: expected at least 1, got {workers}")
        if workers > most:
            raise ValueError(f"workers: expected at most {most}, got {workers}")
        named = 0 if numbered else len(NAMES)
        return (*NAMES[: min(named, workers)], *(f"Worker {i + 1}" for i in range(named, workers)))
    if isinstance(workers, str) or not isinstance(workers, Sequence):
        raise TypeError(f"workers: expected a number or a list of names, got {workers!r}")
    names = tuple(workers)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"workers: expected at least one name and no empty one, got {list(names)}")
    if any("\ud800" <= character <= "\udfff" for name in names for character in name):
        raise ValueError(f"workers: expected names that are Unicode text, got {list(names)}")
    if len(names) > most:
        raise ValueError(f"workers: expected at most {most}, got {len(names)}")
    if len(set(names)) != len(names):
        raise ValueError(f"workers: expected different names, got {list(names)}")
    if numbered:
        raise ValueError(f"workers: expected a number where workers are numbered, got {list(names)}")
    return names


def join_names(names: Sequence[str], word: str = "and") -> str:
    """The names as English writes a list."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


@dataclass(frozen=True)
class Headers:
    """The fixed pieces of text around the workers' own (paper, section 3.2 and Appendix A).

    Attributes:
        separator: stands between steps; the headers below begin with it where they follow something.
        worker: opens a step, formatted with `worker` and `index`.
        past: title of the finished steps.
        others: title of the other workers' unfinished steps.
        own: title of the worker's own unfinished step.
        unfinished: stands where another worker's unfinished text breaks off.

    Raises:
        TypeError, ValueError: one that is no text, no separator, or `worker` with other placeholders.
    """

    separator: str = SEPARATOR
    worker: str = "**{worker} [{index}]:**"
    past: str = "### Past steps"
    others: str = "### Work in progress (others)"
    own: str = "### Work in progress (own)"
    unfinished: str = " <...>"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise TypeError(f"{name}: expected text, got {value!r}")
        if not self.separator:
            raise ValueError("separator: expected at least one character, got ''")
        try:
            self.step("", 1)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"worker: expected text with the placeholders {{worker}} and {{index}}, got {self.worker!r}"
            ) from error

    def step(self, worker: str, index: int) -> str:
        """Header of a worker's step `index` (from 1), without the separator before it."""
        return self.worker.format(worker=worker, index=index)

    def section(self, name: str, alone: bool = False) -> str:
        """Text of a section block of the combined layout.

        Args:
            name: "header_others" or "header_own".
            alone: there are no other workers, so nobody's text breaks off before it.
        """
        if name == "header_others":
            return self.separator + self.others
        if name == "header_own":
            return ("" if alone else self.unfinished) + self.separator + self.own
        raise ValueError(f"section: expected 'header_others' or 'header_own', got {name!r}")
