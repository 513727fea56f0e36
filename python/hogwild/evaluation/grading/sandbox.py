"""Running code that a model wrote: with little time and memory, without a network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hogwild.errors import HogwildError
from hogwild.evaluation.grading.system_calls import filter_code

_CONFINE = Path(__file__).with_name("confine.py")
# What is tried of system calls has arguments that make no sense, so that only the filter answers EPERM.
_PROBE = """
import ctypes, errno, os, socket
c = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(c, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
attempts = [
    lambda: socket.socket(),
    lambda: open("left behind", "w"),
    lambda: os.fork(),
    lambda: call("fsetxattr", -1, None, None, 0, 0),
    lambda: call("fremovexattr", -1, None),
    lambda: call("ioctl", 0, ctypes.c_ulong(0x40086602), None),
    lambda: call("flock", -1, 0),
    lambda: call("shmctl", -1, 0, None),
    lambda: call("semctl", -1, 0, 0),
    lambda: call("msgctl", -1, 0, None),
]
for attempt in attempts:
    try:
        attempt()
    except OSError as error:
        if error.errno == errno.EPERM:
            continue
    raise SystemExit("the filter lets something through")
print("confined")
"""


class SandboxError(HogwildError):
    """Code cannot be confined on this machine, so none is run."""


@dataclass(frozen=True)
class Limits:
    """What one run of a program may take.

    Attributes:
        seconds: of wall-clock time; of processor time, one more.
        memory: bytes of address space, without the stack.
        stack: bytes of the main stack, for deep recursion.
        output: bytes that it may write to a standard stream.
    """

    seconds: float = 6.0
    memory: int = 2 << 30
    stack: int = 256 << 20
    output: int = 16 << 20


@dataclass(frozen=True)
class Run:
    """What came of one run. `finished` is false when it failed, or took too long, too much memory or output."""

    finished: bool
    output: str


def run_confined(code: str, stdin: str, limits: Limits | None = None) -> Run:
    """Run Python code in a process of its own, see `confine`.

    Raises:
        SandboxError: this machine cannot confine it; nothing has run.
    """
    check_sandbox()
    return _run(code, stdin, limits or Limits())


@cache
def check_sandbox() -> None:
    """Make sure that confined code really cannot have a network, change files or reach other processes.

    Raises:
        SandboxError: it does not work here; the message says why.
    """
    try:
        run = _run(_PROBE, "", Limits())
    except OSError as error:
        raise SandboxError(f"code cannot be confined: {error}") from error
    if not run.finished or run.output.strip() != "confined":
        raise SandboxError(
            "code cannot be confined: this needs Linux on x86-64 or arm64 whose kernel allows system-call filters"
        )


@cache
def _filter() -> str:
    return filter_code().hex()


def _run(code: str, stdin: str, limits: Limits) -> Run:
    with tempfile.TemporaryDirectory(prefix="hogwild-code-") as folder:
        program, given, taken = (Path(folder, name) for name in ("program.py", "stdin", "stdout"))
        program.write_text(code, encoding="utf-8", errors="replace")
        given.write_text(stdin, encoding="utf-8", errors="replace")
        numbers = (limits.memory, limits.stack, int(limits.seconds) + 1, limits.output)
        command = [sys.executable, "-I", "-B", str(_CONFINE), *map(str, numbers), _filter(), str(program)]
        environment = {"PATH": os.defpath, "HOME": folder, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        environment["MALLOC_ARENA_MAX"] = "1"  # no heap a thread, which would count as memory
        with open(given, "rb") as source, open(taken, "wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=sink,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
            try:
                finished = process.wait(limits.seconds) == 0
            except subprocess.TimeoutExpired:
                finished = False
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        return Run(finished, taken.read_text(encoding="utf-8", errors="replace"))
