"""What is said to the models of one family, and how: data, read from a YAML file."""

from __future__ import annotations

import functools
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hogwild.errors import HogwildError, UnknownNameError
from hogwild.prompting.examples import Example
from hogwild.prompting.headers import Headers

FOLDER = Path(__file__).with_name("families")
LAST_RESORTS = ("chat", "generic")  # for models with a chat template, and without


class FamilyError(HogwildError, ValueError):
    """A family file cannot be used; the message names the file, the entry and what was expected there."""


@dataclass(frozen=True)
class Rules:
    """What workers are told in one person. Texts with placeholders, see `docs/hogwild.md`."""

    together: str
    alone: str
    contiguous: str
    order: str
    private: str
    progress: str


@dataclass(frozen=True)
class Outline:
    """Prompts of skeleton-of-thought: for the list of points, for one point, and what precedes the list."""

    outline: str
    point: str
    start: str


@dataclass(frozen=True)
class Family:
    """Prompts and conventions of a family of models (paper, Appendix C).

    Attributes:
        name: the file's name.
        matches: regular expressions; the family is for models whose lower-case name has a match of one.
        chat: the models have a chat template; otherwise they continue examples.
        rules_in: the chat turn that the rules stand in, "user" or "system".
        think, unthink: what opens and closes the thoughts of reasoning models, or "".
        forbidden: tokens that no worker may sample; the baselines may.
        openings: first words of the workers, in order; the last entry is for all others.
        headers: the texts around the workers' own.
        question: the redundancy question.
        early: the early-stop line, without the words that open the answer.
        task: how the problem is put, after the rules.
        solo: how it is put to a model that works by itself.
        rules: by person, "second" or "first".
        examples_title: stands before examples that follow rules.
        examples: worked examples.
        skeleton: prompts of skeleton-of-thought.
    """

    name: str
    matches: tuple[str, ...]
    chat: bool
    rules_in: str
    think: str
    unthink: str
    forbidden: tuple[str, ...]
    openings: tuple[str, ...]
    headers: Headers
    question: str
    early: str
    task: str
    solo: str
    rules: Mapping[str, Rules]
    examples_title: str
    examples: tuple[Example, ...]
    skeleton: Outline

    def opening(self, index: int, worker: str) -> str:
        """First words of the `index`-th worker (from 0), or ""."""
        return (
            self.openings[min(index, len(self.openings) - 1)].format(worker=worker) if self.openings else ""
        )

    def forbidden_ids(self, tokenizer: Any) -> tuple[int, ...]:
        """Ids of the forbidden tokens that the tokenizer has; what is not one token to it cannot be sampled."""
        ids = []
        for text in self.forbidden:
            tokens = tokenizer.encode(text, add_special_tokens=False)
            if len(tokens) == 1 and tokenizer.decode(tokens, skip_special_tokens=False) == text:
                ids.append(tokens[0])
        return tuple(ids)


def family_names() -> list[str]:
    """Names of the families that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_family(name_or_path: str | os.PathLike[str]) -> Family:
    """A family by name, or from a file of one's own (anything with a folder or the ending .yaml or .yml).

    A file may begin with `extends: qwen3` and then says only what differs.

    Raises:
        UnknownNameError: there is no family of that name.
        FamilyError: the file does not exist, is no YAML, or an entry is not what it should be.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"family: expected a name or the path of a YAML file, got {name_or_path!r}")
    text = os.fspath(name_or_path)
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return _make(path.stem, _read(path), str(path))
    if text not in family_names():
        raise UnknownNameError("family", text, family_names(), hint="or the path of a YAML file")
    return _built_in(text)


def family_for(tokenizer: Any, model: str = "") -> Family:
    """The family that suits a model.

    Args:
        tokenizer: its tokenizer; without a chat template the model is taken for a base model.
        model: its name, such as "Qwen/Qwen3-8B"; the tokenizer's name is looked at too. Of a path the last part
            counts that can be a model's name, as in "qwen3-8b-sft/checkpoint-500".
    """
    if not getattr(tokenizer, "chat_template", None):
        return _built_in("generic")
    names = " ".join(_own_name(name) for name in (model, str(getattr(tokenizer, "name_or_path", "") or "")))
    for name in family_names():
        family = _built_in(name)
        if any(re.search(pattern, names) for pattern in family.matches):
            return family
    return _built_in("chat")


# parts of a path that are no model's name: "checkpoint-500", "snapshots", a hash
_NO_NAME = re.compile(
    r"(?:checkpoints?|snapshots?|global|steps?|epochs?|final|best|last|latest|merged|models?|weights|outputs?|hf"
    r"|main|[-_.\d])*|[0-9a-f]{7,}"
)


def _own_name(path: str) -> str:
    """The last part of a path that can be a model's name, in lower case; all of the path if no part can."""
    parts = re.split(r"[\\/]", path.lower())
    return next((part for part in reversed(parts) if not _NO_NAME.fullmatch(part)), path.lower())


@functools.cache
def _built_in(name: str) -> Family:
    path = FOLDER / f"{name}.yaml"
    return _make(name, _read(path), str(path))


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The entries of a file, over those of the file that it extends."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # of YAML's errors, which are of several lines
        raise FamilyError(f"{path}: cannot be read as a family: {reason}") from error
    if not isinstance(data, dict):
        raise FamilyError(f"{path}: expected entries such as 'extends: chat', got {type(data).__name__}")
    base = data.pop("extends", None)
    if base is None:
        return data
    below = FOLDER / f"{base}.yaml"
    if base not in family_names():
        raise FamilyError(f"{path}: extends: expected one of {', '.join(family_names())}, got {base!r}")
    if below in seen or below == path:
        raise FamilyError(f"{path}: extends: {base!r} extends this file")
    return _merge(_read(below, (*seen, path)), data)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


# Where texts have placeholders: which ones they may have, and which they must have.
_LAYOUT_WORDS = {"past", "others", "own", "unfinished"}
_TOGETHER = {"names", "count", "history", "progress", "example", "final"}
_PLACEHOLDERS: dict[str, tuple[set[str], set[str]]] = {
    "task": ({"problem"}, {"problem"}),
    "solo": ({"problem", "final"}, {"problem"}),
    "headers.worker": ({"worker", "index"}, {"worker"}),
    **{
        f"rules.{p}.{kind}": (_TOGETHER, set()) for p in ("first", "second") for kind in ("together", "alone")
    },
    **{
        f"rules.{p}.{kind}": (_LAYOUT_WORDS, set())
        for p in ("first", "second")
        for kind in ("contiguous", "order", "private", "progress")
    },
    "skeleton.outline": ({"problem"}, {"problem"}),
    "skeleton.point": ({"problem", "outline", "index", "point", "final"}, {"problem"}),
}
_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("matches", "forbidden", "openings", "examples"), (list, "a list")),
    **dict.fromkeys(("headers", "rules", "skeleton"), (dict, "entries")),
    "chat": (bool, "true or false"),
}


def _make(name: str, data: dict[str, Any], where: str) -> Family:
    fields = [field for field in Family.__dataclass_fields__ if field != "name"]
    _same_keys(data, fields, where, "")
    for key in fields:
        kind, expected = _KINDS.get(key, (str, "text"))
        if not isinstance(data[key], kind):
            raise FamilyError(f"{where}: {key}: expected {expected}, got {data[key]!r}")
    if data["rules_in"] not in ("user", "system"):
        raise FamilyError(f"{where}: rules_in: expected user or system, got {data['rules_in']!r}")
    for key in ("matches", "forbidden", "openings"):
        if not all(isinstance(item, str) for item in data[key]):
            raise FamilyError(f"{where}: {key}: expected a list of texts, got {data[key]!r}")
    for pattern in data["matches"]:
        _check_pattern(pattern, where)
    for opening in data["openings"]:
        _check_placeholders(opening, {"worker"}, set(), f"{where}: openings")
    headers = _texts(Headers, data["headers"], where, "headers")
    _same_keys(data["rules"], ("first", "second"), where, "rules.")
    rules = {
        person: _texts(Rules, data["rules"][person], where, f"rules.{person}") for person in data["rules"]
    }
    skeleton = _texts(Outline, data["skeleton"], where, "skeleton")
    for key, (allowed, needed) in _PLACEHOLDERS.items():
        value: Any = data
        for part in key.split("."):
            value = value[part]
        _check_placeholders(value, allowed, needed, f"{where}: {key}")
    read = {key: tuple(data[key]) for key in ("matches", "forbidden", "openings")}
    examples = tuple(_example(item, where) for item in data["examples"])
    parts = {"headers": headers, "rules": rules, "skeleton": skeleton, "examples": examples}
    return Family(name=name, **{**data, **read, **parts})


def _texts(kind: type, data: Any, where: str, key: str) -> Any:
    """A dataclass of texts from the entries of the same names."""
    fields = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    _same_keys(data, fields, where, f"{key}.")
    for name, value in data.items():
        if not isinstance(value, str):
            raise FamilyError(f"{where}: {key}.{name}: expected text, got {value!r}")
    if kind is Rules:  # YAML's block texts end with a newline
        data = {name: value.strip("\n") for name, value in data.items()}
    try:
        return kind(**data)
    except ValueError as error:  # which begins with the entry's name
        raise FamilyError(f"{where}: {key}.{error}") from error


def _example(data: Any, where: str) -> Example:
    _same_keys(data, ("problem", "steps", "answer"), where, "examples.")
    steps = data["steps"]
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise FamilyError(f"{where}: examples.steps: expected a list of texts, got {steps!r}")
    return Example(str(data["problem"]), tuple(steps), str(data["answer"]))


def _same_keys(data: Any, expected: Any, where: str, prefix: str) -> None:
    if not isinstance(data, dict):
        raise FamilyError(f"{where}: {prefix.rstrip('.')}: expected entries, got {data!r}")
    unknown = [str(key) for key in data if key not in expected]
    missing = [key for key in expected if key not in data]
    if unknown:
        raise FamilyError(
            f"{where}: unknown entry {prefix}{unknown[0]}; expected some of {', '.join(sorted(expected))}"
        )
    if missing:
        hint = "" if prefix else " (a file that begins with 'extends: chat' needs only what differs)"
        raise FamilyError(f"{where}: entry {prefix}{missing[0]} is missing{hint}")


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise FamilyError(f"{where}: matches: {pattern!r} is no regular expression: {error}") from error


def _check_placeholders(text: str, allowed: set[str], needed: set[str], where: str) -> None:
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise FamilyError(f"{where}: {error}; braces that are no placeholders are written twice") from error
    if found - allowed or needed - found:
        words = ", ".join(f"{{{name}}}" for name in sorted(allowed))
        raise FamilyError(f"{where}: expected placeholders of {words}, got {sorted(found)}")
    try:
        text.format(**{name: 1 if name == "index" else "x" for name in allowed})
    except ValueError as error:  # of what stands behind the name
        raise FamilyError(f"{where}: {error}, in {text!r}") from error
