"""Which system calls a confined program may not make, as a filter that the kernel runs before each of them."""

from __future__ import annotations

import platform
import struct
import sys

_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _UNKNOWN = 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of classic BPF
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand

# The audit number of an architecture, and the first number behind its own table: from 424 on all architectures share
# one, and what lies between is unused.
_MACHINES = {"x86_64": (0xC000003E, 335), "aarch64": (0xC00000B7, 295)}

# System calls that always fail with EPERM: their numbers on x86-64 and on arm64, None where there is none.
# fmt: off
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # The network. A pair of sockets, which remains, must not reach others either; binding one makes a file.
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    # Processes: new ones, signals, memory and speed of others, and this one's own limits.
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    "setrlimit": (160, 164), "prlimit64": (302, 261),
    # Files by name.
    "creat": (85, None), "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "chmod": (90, None), "fchmodat": (268, 53), "chown": (92, None), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "removexattr": (197, 14), "lremovexattr": (198, 15),
    # Files by descriptor: of some of these one that is open for reading is enough. Space reserved by fallocate counts
    # for no limit, a lock can stop its owner, and a handle opens a file with any flags.
    "fchmod": (91, 52), "fchown": (93, 55), "fsetxattr": (190, 7), "fremovexattr": (199, 16),
    "fallocate": (285, 47), "flock": (73, 32), "open_by_handle_at": (304, 265),
    # File systems as a whole.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "quotactl": (179, 60), "sync": (162, 81), "syncfs": (306, 267),
    # Memory, queues, semaphores and keys that others share or that outlive the program, those that exist included.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    "memfd_create": (319, 279), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Code and events within the kernel.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
}

# Of the calls that are newer than these tables a few. All others fail as if the kernel did not have them: what future
# kernels add opens no way, and instead of clone3 and openat2, whose flags no filter can see, clone and openat are used.
NEW_ALLOWED = {
    "close_range": 436, "faccessat2": 439, "epoll_pwait2": 441, "futex_waitv": 449, "map_shadow_stack": 453,
    "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "mseal": 462,
}

# Calls that are allowed with some arguments.
LOOKED_AT: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None), "openat": (257, 56), "socketpair": (53, 199), "clone": (56, 220),
    "fcntl": (72, 25), "ioctl": (16, 29), "prctl": (157, 167),
}
# fmt: on
_O_CHANGES = 0o1 | 0o2 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_CLONE_THREAD = 0x10000
_AF_UNIX, _OTHER_THAN_STREAM = 1, 0xE  # sockets of other types, datagrams above all, reach whom they name
_PR_SCHED_CORE = 62  # decides who shares a core with another process
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_GETOWN, F_GETSIG, F_GETOWN_EX, F_DUPFD_CLOEXEC, F_GETPIPE_SZ.
# The rest sets locks, leases and hints, and whom a file is to signal.
_FCNTL = (0, 1, 2, 3, 4, 5, 9, 11, 16, 1030, 1032)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS2. The rest depends on file system and device: flags
# of a file, such as "immutable", volumes, input of a terminal.
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A)


def filter_code(machine: str | None = None) -> bytes:
    """The filter as an array of struct sock_filter.

    Args:
        machine: as `platform.machine` calls it; None for this one.

    Raises:
        OSError: there is no filter for `machine`, or this is not Linux.
    """
    machine = machine or platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        raise OSError(
            f"no system-call filter for {sys.platform} on {machine}, only for Linux on x86-64 or arm64"
        )
    return b"".join(struct.pack("HBBI", *instruction) for instruction in _filter(machine))


def _filter(machine: str) -> list[Instruction]:
    architecture, end = _MACHINES[machine]
    column = list(_MACHINES).index(machine)
    program = [_load(_ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), _load(_NUMBER)]
    for new in NEW_ALLOWED.values():
        program += _if_equal(new, _ALLOW)
    program += [(_AT_LEAST, 0, 1, end), (_RETURN, 0, 0, _UNKNOWN)]
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            program += _if_equal(number, _REFUSE)
    for name, numbers in LOOKED_AT.items():
        if (number := numbers[column]) is not None:
            rule = _RULES[name]
            program += [(_EQUAL, 0, len(rule), number), *rule]
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _if_equal(value: int, action: int) -> list[Instruction]:
    return [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, action)]


def _only(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allows the call if its argument is one of `values`; of an argument all of these calls use 32 bits."""
    program = [_load(_ARGUMENTS + 8 * argument)]
    for value in values:
        program += _if_equal(value, _ALLOW)
    return [*program, (_RETURN, 0, 0, _REFUSE)]


def _bits(argument: int, bits: int, if_any: int, if_none: int) -> list[Instruction]:
    return [
        _load(_ARGUMENTS + 8 * argument),
        (_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, if_any),
        (_RETURN, 0, 0, if_none),
    ]


_RULES = {
    "open": _bits(1, _O_CHANGES, _REFUSE, _ALLOW),
    "openat": _bits(2, _O_CHANGES, _REFUSE, _ALLOW),
    "socketpair": [
        _load(_ARGUMENTS),
        (_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _REFUSE),
        *_bits(1, _OTHER_THAN_STREAM, _REFUSE, _ALLOW),
    ],
    "clone": _bits(0, _CLONE_THREAD, _ALLOW, _REFUSE),
    "fcntl": _only(1, _FCNTL),
    "ioctl": _only(1, _IOCTL),
    "prctl": [_load(_ARGUMENTS), *_if_equal(_PR_SCHED_CORE, _REFUSE), (_RETURN, 0, 0, _ALLOW)],
}
