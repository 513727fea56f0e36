"""Runs one Python file under limits that it cannot lift; started by `sandbox` as a program of its own.

Usage: python -I confine.py MEMORY_BYTES CPU_SECONDS FILE_BYTES PROGRAM

Before the program begins, this process gives up for good: the network, other processes (starting, signalling or
slowing them, and, where the kernel has user namespaces for everybody, reading their memory), every change of the file
system, memory that is shared or outlives it, and what root may do more than others, such as setting the clock. What is
left is computing, reading files, threads, and writing to the standard streams. Nothing but the standard library is
imported here.
"""

from __future__ import annotations

import ctypes
import platform
import resource
import runpy
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_CAPABILITY_VERSION_3, _CLONE_NEWUSER = 0x20080522, 0x10000000
_EPERM, _ENOSYS = 1, 38
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of classic BPF
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_CLONE_THREAD = 0x10000
_O_CHANGES = 0o1 | 0o2 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
# What names a process that a file is to signal when it is ready: F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP.
_SIGNALS = {"fcntl": (8, 10, 15), "ioctl": (0x8901, 0x8902)}

# Per machine: the audit number of its architecture, the refused system calls, and those looked at more closely.
# fmt: off
_MACHINES = {
    "x86_64": (0xC000003E, (
        41, 160, 302,                                   # socket, setrlimit, prlimit64
        57, 58, 59, 322,                                # fork, vfork, execve, execveat
        62, 200, 234, 129, 297, 101, 310, 311,          # kill, tkill, tgkill, rt_(tg)sigqueueinfo, ptrace, process_vm_*
        76, 82, 83, 84, 85, 86, 87, 88, 133,            # truncate, rename, *dir, creat, *link, mknod
        90, 91, 92, 93, 94, 132, 235, 188, 189, 197, 198,  # chmod.., chown.., utime.., *setxattr, *removexattr
        258, 259, 260, 261, 263, 264, 265, 266, 268, 280, 316,  # the same with "at", utimensat, renameat2
        165, 166, 155, 161, 272, 308,                   # mount, umount2, pivot_root, chroot, unshare, setns
        29, 68, 64, 240, 319, 248, 249, 250,            # shmget, msgget, semget, mq_open, memfd_create, keys
        141, 142, 144, 203, 314, 251, 256, 279,         # setpriority, sched_set*, ioprio_set, migrate_pages, move_pages
    ), {"open": 2, "openat": 257, "clone": 56, "fcntl": 72, "ioctl": 16}),
    "aarch64": (0xC00000B7, (
        198, 164, 261,                                  # socket, setrlimit, prlimit64
        221, 281,                                       # execve, execveat
        129, 130, 131, 138, 240, 117, 270, 271,         # kill, tkill, tgkill, rt_(tg)sigqueueinfo, ptrace, process_vm_*
        45, 33, 34, 35, 36, 37, 38, 52, 53, 54, 55, 88, 276,  # truncate, *at, fchmod.., fchown.., utimensat, renameat2
        5, 6, 14, 15,                                   # setxattr, lsetxattr, removexattr, lremovexattr
        39, 40, 41, 51, 97, 268,                        # umount2, mount, pivot_root, chroot, unshare, setns
        194, 186, 190, 180, 279, 217, 218, 219,         # shmget, msgget, semget, mq_open, memfd_create, keys
        140, 118, 119, 122, 274, 30, 238, 239,          # setpriority, sched_set*, ioprio_set, migrate_pages, move_pages
    ), {"openat": 56, "clone": 220, "fcntl": 25, "ioctl": 29}),
}
# fmt: on
# Of every machine: pidfd_send_signal, io_uring_setup, fchmodat2 and pidfd_getfd.
_NEW_CALLS = (424, 425, 452, 438)
# As if the kernel did not have them, since what they ask for stands in memory: clone3, openat2.
_OPAQUE_CALLS = (435, 437)


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """Instructions (code, jump if true, jump if false, operand) that judge a system call."""
    architecture, refused, looked_at = _MACHINES[machine]
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)]
    program += [(_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":  # numbers of the x32 interface
        program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]
    for number in (*refused, *_NEW_CALLS):
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    for number in _OPAQUE_CALLS:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    for name, flags in (("open", 1), ("openat", 2)):
        if name in looked_at:
            program += [(_EQUAL, 0, 4, looked_at[name]), (_LOAD, 0, 0, _ARGUMENTS + 8 * flags)]
            program += [
                (_ANY_BIT, 0, 1, _O_CHANGES),
                (_RETURN, 0, 0, _ERRNO | _EPERM),
                (_RETURN, 0, 0, _ALLOW),
            ]
    for name, requests in _SIGNALS.items():
        program += [(_EQUAL, 0, 2 + 2 * len(requests), looked_at[name]), (_LOAD, 0, 0, _ARGUMENTS + 8)]
        for request in requests:
            program += [(_EQUAL, 0, 1, request), (_RETURN, 0, 0, _ERRNO | _EPERM)]
        program += [(_RETURN, 0, 0, _ALLOW)]
    program += [(_EQUAL, 0, 3, looked_at["clone"]), (_LOAD, 0, 0, _ARGUMENTS)]
    program += [(_ANY_BIT, 1, 0, _CLONE_THREAD), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    return [*program, (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def refuse_system_calls() -> None:
    """Install the filter in this process.

    Raises:
        OSError: this is not Linux on x86-64 or arm64, or the kernel refuses the filter.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        raise OSError(f"no system-call filter for {sys.platform} on {machine}")
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _filter(machine))
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


def main(arguments: list[str]) -> None:
    """Limit this process, then run the program as if Python had been started with it."""
    memory, seconds, file_bytes = (int(argument) for argument in arguments[:3])
    limits = {"AS": memory, "CPU": seconds, "FSIZE": file_bytes, "CORE": 0, "NOFILE": 64}
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    drop_capabilities()
    refuse_system_calls()
    sys.argv = arguments[3:]
    runpy.run_path(arguments[3], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
