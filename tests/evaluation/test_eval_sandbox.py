"""Programs that a model wrote: what they may do."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import subprocess
import sys

import pytest

from hogwild.evaluation.grading import sandbox
from hogwild.evaluation.grading.sandbox import Limits, Run, SandboxError, check_sandbox, run_confined
from hogwild.evaluation.grading.system_calls import NEW_ALLOWED, REFUSED, filter_code

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

SHORT = Limits(seconds=3.0)


def test_a_program_reads_computes_and_writes():
    run = run_confined(
        "import threading\nt = threading.Thread(target=lambda: print(int(input()) * 2))\nt.start()", "21\n"
    )
    assert run.finished and run.output == "42\n"


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "open('new', 'w')",
        "open('program.py', 'r+')",
        "import os; os.remove('program.py')",
        "import os; os.rename('program.py', 'other')",
        "import os; os.mkdir('new')",
        "import os; os.chmod('program.py', 0o777)",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.execv('/bin/true', ['true'])",
        "import os, signal; os.kill(os.getppid(), 0)",
        # by descriptor: one that is open for reading is enough for these
        "import os; os.setxattr(os.open('program.py', os.O_RDONLY), 'user.a', b'1')",
        "import fcntl, struct; fcntl.ioctl(open('program.py'), 0x40086602, struct.pack('q', 0))",  # FS_IOC_SETFLAGS
        "import fcntl; fcntl.flock(open('program.py'), fcntl.LOCK_EX)",
        "import fcntl; fcntl.lockf(open('program.py'), fcntl.LOCK_SH)",
        "import os; os.posix_fallocate(1, 0, 1)",  # with a flag it reserves more than the limit of output
        # sockets of a pair can have a name, which is a file, or send datagrams to who has one
        "import socket; socket.socketpair()[0].bind('name')",
        "import socket; socket.socketpair(type=socket.SOCK_DGRAM)",
        # memory that no limit counts, and that stays when the program has ended
        "import ctypes, sys; c = ctypes.CDLL(None); i = c.shmget(0, 9, 0o1600); c.shmctl(i, 0, 0); sys.exit(i < 0)",
        "import ctypes, sys; c = ctypes.CDLL(None); i = c.msgget(0, 0o1600); c.msgctl(i, 0, 0); sys.exit(i < 0)",
        "import ctypes, sys; c = ctypes.CDLL(None); i = c.semget(0, 1, 0o1600); c.semctl(i, 0, 0); sys.exit(i < 0)",
        "import os; os.memfd_create('x')",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "import os; os.sched_setaffinity(os.getppid(), {0})",
        # what only root may do, and the containers of many users run as root; none changes anything where it works
        "import socket; socket.sethostname(socket.gethostname())",
        "import time; time.clock_settime(time.CLOCK_REALTIME, time.time())",
    ],
)
def test_what_is_not_allowed_fails(code):
    assert not run_confined(code, "", SHORT).finished


def test_every_refused_system_call_fails():
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    numbers = {name: row[column] for name, row in REFUSED.items() if row[column] is not None}
    for name in ("fork", "vfork"):  # which would succeed
        numbers.pop(name, None)
    new = {f"{number}": number for number in range(424, 500) if number not in NEW_ALLOWED.values()}
    code = f"""
import ctypes
c = ctypes.CDLL(None, use_errno=True)
for name, number in { ({**numbers, **new})!r}.items():
    c.syscall(number, -1, -1, -1, -1, -1, -1)
    print(name, ctypes.get_errno())
"""
    answers = dict(line.split() for line in run_confined(code, "", SHORT).output.splitlines())
    assert answers == {**dict.fromkeys(numbers, str(errno.EPERM)), **dict.fromkeys(new, str(errno.ENOSYS))}


def test_shared_memory_of_another_program_is_out_of_reach():
    c = ctypes.CDLL(None, use_errno=True)
    c.shmat.restype = ctypes.c_void_p
    segment = c.shmget(0, 4096, 0o1600)
    if segment < 0:
        pytest.skip("no shared memory of System V here")
    place = c.shmat(segment, None, 0)
    try:
        ctypes.memmove(place, b"mine\0", 5)
        code = f"""
import ctypes
c = ctypes.CDLL(None)
c.shmat.restype = ctypes.c_void_p
place = c.shmat({segment}, None, 0)
if place != ctypes.c_void_p(-1).value:
    ctypes.memmove(place, b"gone", 4)
print(c.shmctl({segment}, 0, None))
"""
        assert run_confined(code, "", SHORT).output == "-1\n"
        assert ctypes.string_at(place) == b"mine"
    finally:
        c.shmdt(ctypes.c_void_p(place))
        c.shmctl(segment, 0, None)


def test_attributes_of_a_file_stay_as_they_are(tmp_path):
    file = tmp_path / "file"
    file.touch()
    try:
        os.setxattr(file, "user.kept", b"1")
    except OSError:
        pytest.skip("the file system has no attributes")
    code = f"""
import os
fd = os.open({str(file)!r}, os.O_RDONLY)
for attempt in (lambda: os.setxattr(fd, "user.new", b"1"), lambda: os.removexattr(fd, "user.kept")):
    try:
        attempt()
    except PermissionError:
        print("refused")
"""
    assert run_confined(code, "", SHORT).output == "refused\n" * 2
    assert os.listxattr(file) == ["user.kept"]


def test_a_pair_of_sockets_and_an_event_loop_still_work():
    code = "import asyncio; print(asyncio.run(asyncio.to_thread(lambda: 5)))"
    assert run_confined(code, "", SHORT).output == "5\n"


def test_the_stack_is_as_large_as_it_should_be():
    recursion = """
import sys
sys.setrecursionlimit(10**6)
class Deep:  # calls through C, which takes its stack
    def __getattr__(self, name):
        depth = int(name[1:])
        return getattr(self, f"_{depth - 1}") if depth else 7
print(Deep()._4000)
"""
    small, large = (run_confined(recursion, "", Limits(stack=size << 20)) for size in (1, 256))
    assert not small.finished and large.output == "7\n"


@pytest.mark.parametrize(
    ("end", "finished"), [("sys.exit()", True), ("exit(0)", True), ("sys.exit(3)", False)]
)
def test_how_a_program_ends_is_known(end, finished):
    assert run_confined(f"import sys\nprint(1)\n{end}", "") == Run(finished, "1\n")
    assert not run_confined("raise KeyboardInterrupt", "").finished


def test_root_has_no_rights_of_its_own():
    status = run_confined("print(open('/proc/self/status').read())", "", SHORT).output
    rights = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Cap"))
    assert {int(rights[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff")} == {0}


def test_memory_of_other_processes_cannot_be_read():
    namespace = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000) != 0)"
    if subprocess.run([sys.executable, "-c", namespace]).returncode:
        pytest.skip("the kernel has no user namespaces for everybody")
    for file in ("mem", "environ"):
        code = f"import os; open(f'/proc/{{os.getppid()}}/{file}', 'rb').read(1)"
        assert not run_confined(code, "", SHORT).finished
    assert run_confined("print(open('/proc/self/environ', 'rb').read(4))", "", SHORT).finished


@pytest.mark.parametrize(
    "ask",
    [
        "fcntl.fcntl(ends[0], fcntl.F_SETOWN, {victim}); fcntl.fcntl(ends[0], 10, signal.SIGKILL)",
        "fcntl.fcntl(ends[0], 15, struct.pack('ii', 1, {victim})); fcntl.fcntl(ends[0], 10, signal.SIGKILL)",
        "fcntl.ioctl(ends[0], 0x8901, struct.pack('i', {victim}))",
    ],
)
def test_no_file_signals_another_process(ask):
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = f"""
import fcntl, os, signal, struct
ends = os.pipe()
{ask.format(victim=victim.pid)}
fcntl.fcntl(ends[0], fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
os.write(ends[1], b"x")
"""
    run = run_confined(code, "", SHORT)
    victim.communicate(b"\n", timeout=10)
    assert victim.returncode == 0 and not run.finished


def test_files_can_still_be_asked_for_their_flags():
    code = (
        "import fcntl, os; print(fcntl.fcntl(1, fcntl.F_GETFD), os.isatty(1), fcntl.fcntl(0, fcntl.F_GETOWN))"
    )
    assert run_confined(code, "", SHORT).output == "0 False 0\n"


def test_a_program_cannot_lift_its_limits():
    code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)"
    assert not run_confined(code, "", SHORT).finished  # not even as root


def test_too_much_memory_or_output_or_time():
    assert not run_confined("x = bytearray(10**9)", "", Limits(memory=300 << 20)).finished
    endless = run_confined("while True: print('x' * 1000)", "", Limits(seconds=3, output=1 << 16))
    assert not endless.finished and len(endless.output) <= 1 << 16
    assert not run_confined("while True: pass", "", Limits(seconds=0.5)).finished


def test_nothing_of_the_environment_is_seen(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    assert run_confined("import os; print(os.environ.get('SECRET_TOKEN'))", "").output == "None\n"


def test_a_machine_that_cannot_confine_runs_nothing(monkeypatch):
    check_sandbox.cache_clear()
    monkeypatch.setattr(sandbox, "_run", lambda code, stdin, limits: sandbox.Run(False, ""))
    with pytest.raises(SandboxError, match="Linux on x86-64 or arm64"):
        run_confined("print(1)", "")
    check_sandbox.cache_clear()


@pytest.mark.parametrize(
    "hole", ["socket", "fsetxattr", "fremovexattr", "flock", "shmctl", "semctl", "msgctl"]
)
def test_a_filter_with_a_hole_is_found_out(monkeypatch, hole):
    monkeypatch.delitem(REFUSED, hole)
    monkeypatch.setattr(sandbox, "_filter", lambda: filter_code().hex())
    check_sandbox.cache_clear()
    with pytest.raises(SandboxError):
        check_sandbox()
    check_sandbox.cache_clear()
