"""The filter of system calls, as the kernel would run it on either machine."""

from __future__ import annotations

import errno
import platform
import re
import struct
import sys
from pathlib import Path

import pytest

from hogwild.evaluation.grading.system_calls import LOOKED_AT, NEW_ALLOWED, REFUSED, filter_code

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOW, KILL, REFUSE, UNKNOWN = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


def judge(machine, number, *arguments, architecture=None):
    """What the filter returns for a system call."""
    given = [value & (2**64 - 1) for value in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<iIQ6Q", number, architecture or MACHINES[machine][1], 0, *given)
    code, place, loaded = list(struct.iter_unpack("HBBI", filter_code(machine))), 0, 0
    while True:
        operation, if_true, if_false, operand = code[place]
        place += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", data, operand)
        else:
            true = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: loaded & operand}[operation]
            place += if_true if true else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_refused_calls_are_refused_and_others_are_not(machine):
    column = MACHINES[machine][0]
    refused = {row[column] for row in REFUSED.values()} - {None}
    looked_at = {row[column] for row in LOOKED_AT.values()} - {None}
    assert not refused & looked_at and len(refused) == sum(
        row[column] is not None for row in REFUSED.values()
    )
    last = (334, 294)[column]
    for number in set(range(last + 1)) - looked_at:
        assert judge(machine, number, -1, -1, -1) == (REFUSE if number in refused else ALLOW), number
    for number in (*range(last + 1, 600), 2**30, 2**30 + 59, -1):
        assert judge(machine, number) == (ALLOW if number in NEW_ALLOWED.values() else UNKNOWN), number
    assert judge(machine, 0, architecture=0x40000003) == KILL  # 32-bit programs have other numbers


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("openat", (-100, 0, 0o2000000), True),  # O_CLOEXEC
        ("openat", (-100, 0, 0o100), False),
        ("openat", (-100, 0, 2), False),
        ("clone", (0x3D0F00,), True),  # as threads are started
        ("clone", (17,), False),
        ("socketpair", (1, 0o2004001), True),  # with SOCK_CLOEXEC and SOCK_NONBLOCK
        ("socketpair", (1, 2), False),
        ("socketpair", (1, 5), False),
        ("socketpair", (30, 1), False),
        ("fcntl", (0, 3), True),
        ("fcntl", (0, 6), False),
        ("fcntl", (0, 1024), False),
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0xFFFFFFFF00005401), True),  # the kernel looks at 32 bits
        (
            "ioctl",
            (0, 0x40086602),
            False,
        ),  # FS_IOC_SETFLAGS, the same of 32-bit programs, and FS_IOC_FSSETXATTR
        ("ioctl", (0, 0x40046602), False),
        ("ioctl", (0, 0x401C5820), False),
        ("ioctl", (0, 0xFFFFFFFF40086602), False),
        ("ioctl", (0, 0x5412), False),  # TIOCSTI
        ("prctl", (15,), True),
        ("prctl", (62,), False),
    ],
)
def test_some_calls_are_allowed_with_some_arguments(machine, name, arguments, allowed):
    number = LOOKED_AT[name][MACHINES[machine][0]]
    assert judge(machine, number, *arguments) == (ALLOW if allowed else REFUSE)


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_the_kernels(machine):
    paths = [path for path in map(Path, HEADERS[machine]) if path.is_file()]
    if not paths:
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", paths[0].read_text())
    known = {name: int(number) for name, number in found}
    column = MACHINES[machine][0]
    ours = {name: row[column] for name, row in {**REFUSED, **LOOKED_AT}.items()}
    assert {name: number for name, number in ours.items() if known.get(name) != number} == {}
    assert NEW_ALLOWED.items() >= {name: known[name] for name in NEW_ALLOWED if name in known}.items()


def test_only_linux_on_known_machines_has_a_filter(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="no system-call filter for linux on riscv64"):
        filter_code()
