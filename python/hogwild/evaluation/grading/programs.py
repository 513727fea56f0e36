"""Whether a program passes its tests: text in and out, or calls of a function with JSON values."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from hogwild.evaluation.grading.sandbox import Limits, run_confined

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)

# What solutions of LiveCodeBench find imported, as a whole and name by name. Where modules disagree the later one
# counts: `pow` and `open` are the builtins, not those of math and io, and `Counter` is not the one of typing.
_MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
_NAMES = "".join(f"from {module} import *\n" for module in ("typing", *_MODULES, "builtins"))
_NAMES += f"import {', '.join(_MODULES)}\n"

# Recursion as deep as LiveCodeBench allows, for which `Limits.stack` is enough, and numbers of any length.
_LIMITS = """\
import sys
sys.setrecursionlimit(50000)
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)
"""

_RUN = _LIMITS + _NAMES + 'exec(compile({code!r}, "solution.py", "exec"), globals())\n'

# Calls a function of the solution with the arguments in stdin, one JSON value a line, and prints the result as JSON.
# The solution is a module, which does not run what is under `if __name__ == "__main__"`; it finds stdin at its end, and
# what it prints goes where errors go.
_CALL = (
    _LIMITS
    + """\
import json, os, types
arguments = [json.loads(line) for line in sys.stdin.read().split("\\n") if line.strip()]
result_file = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
solution = sys.modules["solution"] = types.ModuleType("solution")
exec({names!r}, vars(solution))
exec(compile({code!r}, "solution.py", "exec"), vars(solution))
function = getattr(solution.Solution() if hasattr(solution, "Solution") else solution, {function!r})
result = function(*arguments)
with result_file:
    json.dump(result, result_file)
"""
)


@dataclass(frozen=True)
class Test:
    """One test of a program.

    Attributes:
        given: what it reads, or with `function`, the arguments as JSON, one a line.
        wanted: what it prints, or with `function`, the result as JSON.
        function: the function to call, of a class `Solution` if there is one; None to run the program. Before the
            call the code is run as a module without input, whose prints are dropped; an error there fails the test.
    """

    __test__ = False  # not a test of pytest

    given: str
    wanted: str
    function: str | None = None


def find_code(text: str) -> str:
    """The last fenced block of `text`, closed or not; all of it where there is none, or where it is a program itself.

    No text around a block is Python, so where the whole is, its fences stand in strings.
    """
    blocks = _FENCE.findall(text)
    return blocks[-1] if blocks and not _is_program(text) else text


def _is_program(text: str) -> bool:
    """Whether a text is Python that calls or defines something, unlike a few words that happen to be Python."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, (ast.Call, ast.FunctionDef, ast.ClassDef)) for node in nodes)


def passes(code: str, tests: Sequence[Test], limits: Limits | None = None) -> bool:
    """Whether a program passes all tests; the first that fails is the last that is run."""
    return bool(code.strip()) and all(_passes_one(code, test, limits) for test in tests)


def _passes_one(code: str, test: Test, limits: Limits | None) -> bool:
    code = code.encode(errors="replace").decode()  # half a surrogate pair, which no file can hold
    if test.function is None:
        run = run_confined(_RUN.format(code=code), test.given, limits)
        return run.finished and _same_lines(run.output, test.wanted)
    run = run_confined(_CALL.format(names=_NAMES, code=code, function=test.function), test.given, limits)
    return run.finished and _same_json(run.output, test.wanted)


def _same_json(given: str, wanted: str) -> bool:
    try:
        # as decimals, since Python reads no integers of more than a few thousand digits
        return json.loads(given, parse_int=Decimal) == json.loads(wanted, parse_int=Decimal)
    except (ValueError, RecursionError):
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
