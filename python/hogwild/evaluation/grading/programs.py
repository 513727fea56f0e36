"""Whether a program passes its tests: text in and out, or calls of a function with JSON values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from hogwild.evaluation.grading.sandbox import Limits, run_confined

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_FUTURE = re.compile(r"^from __future__ import [^(\n]+$", re.MULTILINE)

# What solutions of programming contests take for granted.
_PREAMBLE = """\
from typing import *
from collections import *
from itertools import *
from functools import *
from heapq import *
from bisect import *
from math import *
import sys, math, collections, itertools, functools, heapq, bisect, re, string, random, json
"""

# Calls the solution with the arguments in stdin, one JSON value a line, and prints the result as JSON.
_CALL = """

def _hogwild_call(name):
    arguments = [json.loads(line) for line in sys.stdin.read().splitlines() if line.strip()]
    function = getattr(Solution(), name) if "Solution" in globals() else globals()[name]
    output, sys.stdout = sys.stdout, sys.stderr
    result = function(*arguments)
    output.write(json.dumps(result))

_hogwild_call({name!r})
"""


@dataclass(frozen=True)
class Test:
    """One test of a program.

    Attributes:
        given: what it reads, or with `function`, the arguments as JSON, one a line.
        wanted: what it prints, or with `function`, the result as JSON.
        function: the function to call, of a class `Solution` if there is one; None to run the program.
    """

    __test__ = False  # not a test of pytest

    given: str
    wanted: str
    function: str | None = None


def find_code(text: str) -> str:
    """The last fenced block of `text`, closed or not; all of it where there is none."""
    blocks = _FENCE.findall(text)
    return blocks[-1] if blocks else text


def passes(code: str, tests: Sequence[Test], limits: Limits | None = None) -> bool:
    """Whether a program passes all tests; the first that fails is the last that is run."""
    return bool(code.strip()) and all(_passes_one(code, test, limits) for test in tests)


def _passes_one(code: str, test: Test, limits: Limits | None) -> bool:
    future = "".join(f"{line}\n" for line in _FUTURE.findall(code))  # nothing may stand before these
    program = f"{future}{_PREAMBLE}\n{_FUTURE.sub('', code)}\n"
    if test.function is not None:
        program += _CALL.format(name=test.function)
    run = run_confined(program, test.given, limits)
    if not run.finished:
        return False
    return _same_json(run.output, test.wanted) if test.function else _same_lines(run.output, test.wanted)


def _same_json(given: str, wanted: str) -> bool:
    try:
        return json.loads(given) == json.loads(wanted)
    except ValueError:
        return False


def _same_lines(given: str, wanted: str) -> bool:
    """Line by line, without regard to blanks around it; what differs may still be equal numbers."""
    lines = [[line.split() for line in text.strip().splitlines()] for text in (given, wanted)]
    return len(lines[0]) == len(lines[1]) and all(
        a == b or (len(a) == len(b) and all(map(_same_word, a, b))) for a, b in zip(*lines, strict=True)
    )


def _same_word(a: str, b: str) -> bool:
    try:
        return a == b or Decimal(a) == Decimal(b)
    except InvalidOperation:
        return False
