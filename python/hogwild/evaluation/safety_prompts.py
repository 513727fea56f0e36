"""Requests whose answers are to be safe, from a file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from hogwild.errors import HogwildError


class PromptFileError(HogwildError, ValueError):
    """A file of prompts cannot be read; the message names the line."""


@dataclass(frozen=True)
class SafetyPrompt:
    """A request.

    Attributes:
        id: its name; by default its line.
        text: what is asked.
        harmful: whether it ought to be declined; None: not known.
    """

    id: str
    text: str
    harmful: bool | None = None


def read_prompts(path: str | os.PathLike[str]) -> list[SafetyPrompt]:
    """Requests from a file of JSON lines: `{"prompt": ..., "id": ..., "harmful": ...}`, the last two optional.

    Raises:
        PromptFileError: a line is not such an object, two have the same id, or there is none.
        OSError: the file cannot be read.
    """
    prompts: dict[str, SafetyPrompt] = {}
    try:
        # Some programs write a byte order mark.
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{path}: not a text in UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PromptFileError(f"{path}, line {number}: not JSON: {error}") from error
        text = values.get("prompt") if isinstance(values, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise PromptFileError(f"{path}, line {number}: expected an object with a text 'prompt'")
        for field in ("prompt", "id"):
            try:
                str(values.get(field)).encode()
            except UnicodeEncodeError:  # half of a character, which JSON can spell
                raise PromptFileError(
                    f"{path}, line {number}: {field}: expected text in Unicode, got {values[field]!r}"
                ) from None
        harmful = values.get("harmful")
        if harmful is not None and not isinstance(harmful, bool):
            raise PromptFileError(f"{path}, line {number}: harmful: expected true or false, got {harmful!r}")
        own = values.get("id")
        name = str(number if own is None else own)
        if name in prompts:
            raise PromptFileError(f"{path}, line {number}: id: {name!r} is that of an earlier line")
        prompts[name] = SafetyPrompt(name, text, harmful)
    if not prompts:
        raise PromptFileError(f"{path}: expected at least one prompt")
    return list(prompts.values())
