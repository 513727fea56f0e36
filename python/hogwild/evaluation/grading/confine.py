"""Runs one Python file under limits that it cannot lift; started by `sandbox` as a program of its own.

Usage: python -I confine.py MEMORY_BYTES STACK_BYTES CPU_SECONDS FILE_BYTES FILTER PROGRAM

FILTER is what `system_calls.filter_code` gives, in hexadecimal digits.

Before the program begins, this process gives up for good: the network, other processes (starting, signalling or
slowing them, and, where the kernel has user namespaces for everybody, reading their memory), every change of the file
system, of attributes, flags and locks of files too, memory, queues and semaphores that are shared or outlive it, and
what root may do more than others, such as setting the clock. What is left is computing, reading files, threads, and
writing to the standard streams. Nothing but the standard library is imported here.
"""

from __future__ import annotations

import ctypes
import resource
import runpy
import struct
import sys
import threading

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_CAPABILITY_VERSION_3, _CLONE_NEWUSER = 0x20080522, 0x10000000


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse_system_calls(code: bytes) -> None:
    """Install a filter of system calls, an array of struct sock_filter, in this process.

    Raises:
        OSError: the kernel refuses the filter.
    """
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refuses a system-call filter")


def drop_capabilities() -> None:
    """Leave this process, root's too, without any right that others do not have.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(
        _CLONE_NEWUSER
    )  # the same user's processes outside are then another's; some kernels refuse it
    this_process = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    none = bytes(24)  # effective, permitted and inheritable ones, in two halves
    if libc.capset(this_process, none):
        raise OSError(ctypes.get_errno(), "the kernel refuses to drop capabilities")


def run_with_stack(path: str, stack: int) -> None:
    """Run a Python file as if Python had been started with it, on a stack of that many bytes.

    Raises:
        SystemExit: the file asks for it, or ends in an error; the code says which.
    """
    ended: list[BaseException] = []

    def run() -> None:
        threading.stack_size(0)  # threads of the program have the usual one
        try:
            runpy.run_path(path, run_name="__main__")
        except BaseException as error:
            ended.append(error)

    threading.stack_size(stack)
    thread = threading.Thread(target=run)  # the stack of the main thread is as large as it was at the start
    thread.start()
    thread.join()
    if ended:
        raise ended[0] if isinstance(ended[0], SystemExit) else SystemExit(1)


def main(arguments: list[str]) -> None:
    """Limit this process, then run the program."""
    memory, stack, seconds, file_bytes = (int(argument) for argument in arguments[:4])
    limits = {"AS": memory + stack, "CPU": seconds, "FSIZE": file_bytes, "CORE": 0, "NOFILE": 64}
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    drop_capabilities()
    refuse_system_calls(bytes.fromhex(arguments[4]))
    sys.argv = arguments[5:]
    run_with_stack(arguments[5], stack)


if __name__ == "__main__":
    main(sys.argv[1:])
