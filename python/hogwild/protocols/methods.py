"""Methods by name: what `--methods` of the command line, the evaluation and the server understand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hogwild.cache.layouts import LAYOUTS
from hogwild.errors import HogwildError, UnknownNameError
from hogwild.prompting import worker_names
from hogwild.prompting.headers import MOST_WORKERS
from hogwild.protocols.budgeted import BudgetedProtocol
from hogwild.protocols.collaboration import MAX_WORKERS, CollaborationProtocol
from hogwild.protocols.skeleton import SkeletonProtocol
from hogwild.protocols.threads import SelfConsistencyProtocol, SequentialProtocol


class MethodError(HogwildError, ValueError):
    """A method string says something that the method does not know; the message says what it knows."""


@dataclass(frozen=True)
class Method:
    """A method with its own settings, as `parse` reads it.

    Attributes:
        kind: "sequential", "self-consistency", "skeleton" or "hogwild".
        label: the string that it was read from, for tables and plots.
        options: settings that the string names, as arguments of the method's protocol.
    """

    kind: str
    label: str
    options: dict[str, Any] = field(default_factory=dict)


# A word behind a colon -> the arguments of the protocol that it stands for.
_WORDS: dict[str, dict[str, dict[str, Any]]] = {
    "sequential": {"no-early": {"early_finish": False}},
    "self-consistency": {"vote": {"vote": True}},
    "skeleton": {},
    "hogwild": {
        **{name: {"layout": name} for name in LAYOUTS},
        "non-instant": {"layout": "interleaved"},
        "no-question": {"question_every": None},
        "random-question": {"question_to": "random"},
        "re-encode": {"reencode": True},
        "no-examples": {"examples": False},
        "first-person": {"person": "first"},
        "second-person": {"person": "second"},
        "numbered": {"numbered": True},
        "no-early": {"early_finish": False},
    },
}
KINDS = tuple(_WORDS)

_HELP = {
    "sequential": "sequential, sequential:no-early",
    "self-consistency": "self-consistency:THREADS, self-consistency:THREADS:vote",
    "skeleton": "skeleton, skeleton:THREADS-AT-A-TIME",
    "hogwild": "hogwild:WORKERS, hogwild:Ada+Kurt, followed by any of "
    + ", ".join(f":{word}" for word in [*_WORDS["hogwild"], "question-TOKENS"]),
}


def parse(method: str) -> Method:
    """Read a method string: a kind, then settings behind colons.

    Such as `sequential`, `sequential:no-early`, `self-consistency:4`, `self-consistency:4:vote`, `skeleton` (all
    points at a time), `skeleton:2`, `hogwild:2`, `hogwild:Ada+Kurt`, `hogwild:4:contiguous`,
    `hogwild:2:no-question:re-encode`.

    Raises:
        UnknownNameError: no such kind of method.
        MethodError: a setting that this kind does not have, twice the same, or a number out of range.
        TypeError: not a string.
    """
    if not isinstance(method, str):
        raise TypeError(f"method: expected a string such as 'hogwild:2', got {method!r}")
    kind, *words = (word.strip() for word in method.split(":"))
    if kind not in _WORDS:
        raise UnknownNameError("method", kind, KINDS)
    options: dict[str, Any] = {}
    for place, word in enumerate(words):
        for name, value in _setting(kind, word, place, method).items():
            if name in options:
                raise MethodError(f"method {method!r}: {word!r} says {name} a second time")
            options[name] = value
    if options.get("numbered") and not isinstance(options.get("workers", 2), int):
        raise MethodError(f"method {method!r}: workers have names or numbers, not both")
    return Method(kind, method, options)


def _setting(kind: str, word: str, place: int, method: str) -> dict[str, Any]:
    if word in _WORDS[kind]:
        return _WORDS[kind][word]
    if kind == "hogwild" and re.fullmatch(r"question-[1-9][0-9]*", word):
        return {"question_every": int(word.removeprefix("question-"))}
    if place == 0 and (read := _FIRST.get(kind)) is not None:
        try:
            return read(word)
        except (ValueError, TypeError) as error:
            raise MethodError(f"method {method!r}: {error}; expected {_HELP[kind]}") from None
    raise MethodError(f"method {method!r}: unknown setting {word!r}; expected {_HELP[kind]}")


def _count(name: str, word: str, minimum: int) -> int:
    if not re.fullmatch(r"[0-9]+", word) or int(word) < minimum:
        raise ValueError(f"{name}: expected a whole number of at least {minimum}, got {word!r}")
    if name == "threads" and int(word) > MOST_WORKERS:
        raise ValueError(f"{name}: expected at most {MOST_WORKERS}, got {word}")
    return int(word)


def _workers(word: str) -> dict[str, Any]:
    if re.fullmatch(r"[+-]?[0-9.]+", word):
        workers: int | list[str] = _count("workers", word, 1)
    elif "+" in word or re.fullmatch(r"[A-Z]\w*", word):
        workers = [name.strip() for name in word.split("+")]
    else:
        raise ValueError(f"unknown setting {word!r}")
    worker_names(workers, most=MAX_WORKERS)
    return {"workers": workers}


# What may stand directly behind the kind: how many, or who.
_FIRST: dict[str, Callable[[str], dict[str, Any]]] = {
    "self-consistency": lambda word: {"threads": _count("threads", word, 1)},
    "skeleton": lambda word: {"at_a_time": _count("threads at a time", word, 1)},
    "hogwild": _workers,
}


_PROTOCOLS: dict[str, type[BudgetedProtocol]] = {
    "sequential": SequentialProtocol,
    "self-consistency": SelfConsistencyProtocol,
    "skeleton": SkeletonProtocol,
    "hogwild": CollaborationProtocol,
}


def make(
    method: str | Method, problem: str, tokenizer: Any, *, early_finish: bool = True, **settings: Any
) -> BudgetedProtocol:
    """The protocol of a method for one problem.

    All methods get the same settings, so that they can be compared: the budgets, the way in which a run that
    has not answered is made to, the model's sampling settings. `Engine.method` takes the latter from the model.

    Args:
        method: a string that `parse` reads, or what it returned.
        problem: what is to be solved.
        tokenizer: a Hugging Face tokenizer.
        early_finish: see `BudgetedProtocol`; a method string that says otherwise goes first.
        settings: further arguments of `BudgetedProtocol`, such as `budgets`, `max_forwards`, `sampling`,
            `end_tokens`, `family`, `answer` and `answer_tokens`; or of the method's own class.

    Returns:
        A protocol for `Engine.stream`, `run` or `open`. When it has finished, `answers` has a `BudgetAnswer`
        for each budget; the same is told by `BudgetEvent`s.

    Raises:
        HogwildError, ValueError, TypeError: the method or a setting is not what it should be; it is named.
    """
    if not isinstance(method, Method):
        method = parse(method)
    options = {"early_finish": early_finish, **settings, **method.options}
    return _PROTOCOLS[method.kind](problem, tokenizer, **options)
