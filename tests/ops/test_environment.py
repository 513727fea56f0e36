"""The environment variables of the CPU ops: what they say is read once, so each test has a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

ATTENTION = """
import os, torch, hogwild_cuda

ints = lambda *values: torch.tensor(values, dtype=torch.int32)

def attention():
    cache = torch.ones(1, 1, 4, 2)
    table = ints(0)[:, None]
    arguments = (table, ints(4), ints(0, 1), ints(0, 1), table + 3, ints(3), ints(-1), None)
    return torch.ops.hogwild.attention(torch.ones(1, 1, 2), cache, cache, *arguments, scale=1.0)[0].flatten().tolist()
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ATTENTION + program],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def test_isa() -> None:
    program = "print(torch.ops.hogwild.cpu_isa(), attention())"
    result = run(program, HOGWILD_CPU_ISA="baseline", HOGWILD_CPU_MIN_WORK="")
    assert result.stdout == "baseline [1.0, 1.0]\n", result.stderr


def test_unknown_isa() -> None:
    result = run("", HOGWILD_CPU_ISA="AVX2")
    expected = (
        'ValueError: HOGWILD_CPU_ISA is "AVX2"; expected one of avx512, avx2, baseline, and of these the'
    )
    assert result.returncode != 0 and expected in result.stderr


def test_min_work() -> None:
    """A value that is refused is read again at the next call."""
    values = ("0", "-1", "many", "1.5", "2 ", "9" * 20)
    program = f"""
for value in {values}:
    os.environ["HOGWILD_CPU_MIN_WORK"] = value
    try:
        attention()
    except ValueError as error:
        print(error)
os.environ["HOGWILD_CPU_MIN_WORK"] = "7"
print(attention())
"""
    result = run(program, HOGWILD_CPU_ISA="")
    expected = [
        f'HOGWILD_CPU_MIN_WORK is "{value}"; expected a number of multiply-adds, 1 or more'
        for value in values
    ]
    assert result.stdout.splitlines() == [*expected, "[1.0, 1.0]"], result.stderr
