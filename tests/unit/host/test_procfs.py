"""What /proc tells about a process: fields by name, also for odd command names and processes that
are gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Iterator, NamedTuple

import pytest

from resilient_wsgi.host import procfs

GONE = 2**22 + 1  # more than the kernel's greatest pid


class Child(NamedTuple):
    """A process that this test has started, and its fork."""

    pid: int
    fork: int


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a process that has forked, and whose name is a hard one."""
    code = (
        "import os, sys, time, ctypes, signal\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "ctypes.CDLL(None).prctl(15, b'a) R (b 1', 0, 0, 0)\n"
        "pid = os.fork()\n"
        "pid and print(pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    fork = int(process.stdout.readline())
    yield Child(process.pid, fork)
    process.kill()
    os.kill(fork, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_fields_come_after_a_name_that_looks_like_fields(child: Child) -> None:
    found = procfs.stat(child.pid)
    assert found is not None
    assert found.name == procfs.name(child.pid) == "a) R (b 1"
    assert (found.ppid, found.threads, found.runs) == (os.getpid(), 1, True)
    assert found.state in ("R", "S")
    assert found.start == procfs.start(child.pid) > 0
    assert procfs.status(child.pid)["PPid"] == str(os.getpid())


def test_a_fork_has_the_stack_of_its_parent_and_another_start(
    child: Child,
) -> None:
    parent, fork = procfs.stat(child.pid), procfs.stat(child.fork)
    mine = procfs.stat(os.getpid())
    assert parent is not None
    assert fork is not None
    assert mine is not None
    assert parent.stack_start == fork.stack_start != mine.stack_start


def test_descendants(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    assert procfs.children(child.pid) == [child.fork]
    assert {child.pid, child.fork} <= set(procfs.descendants(os.getpid()))
    # a kernel without CONFIG_PROC_CHILDREN
    monkeypatch.setattr(os.path, "exists", lambda _path: False)
    assert procfs.children(child.pid) == [child.fork]
    assert child.pid in procfs.children(os.getpid())


def test_who_a_process_is(child: Child) -> None:
    assert procfs.uid(child.pid) == os.geteuid()
    assert procfs.uids(child.pid) == {*os.getresuid()}
    assert procfs.inner_pid(child.pid) == child.pid
    assert procfs.pid_namespace(child.pid) == procfs.pid_namespace() != 0
    assert procfs.exe(child.pid) == os.path.realpath(sys.executable)
    assert procfs.cmdline(child.pid).startswith(f"{sys.executable} -c import os")
    assert procfs.handles_signal(child.pid, signal.SIGUSR1) is True
    assert procfs.handles_signal(child.pid, signal.SIGUSR2) is False


def test_descriptors() -> None:
    read, write = os.pipe()
    with socket.socket() as sock:
        inode = os.fstat(sock.fileno()).st_ino
        assert procfs.link(os.getpid(), sock.fileno()) == f"socket:[{inode}]"
        assert inode in procfs.socket_inodes()
        assert {read, write, sock.fileno()} <= set(procfs.fds())
        assert procfs.links()[read] == procfs.links()[write] == f"pipe:[{os.fstat(read).st_ino}]"
        assert procfs.access_mode(procfs.SELF, read) == os.O_RDONLY
        assert procfs.access_mode(procfs.SELF, write) == os.O_WRONLY
    os.close(read)
    os.close(write)
    assert procfs.link(procfs.SELF, write) == ""
    assert procfs.access_mode(procfs.SELF, write) is None


def test_a_thread_that_writes_to_a_full_pipe() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    while True:
        try:
            os.write(write, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(write, True)
    writer = threading.Thread(target=lambda: os.write(write, b"one byte more"))
    writer.start()
    tid = writer.native_id
    assert tid is not None
    for _ in range(500):
        if procfs.sleeps_in_write(procfs.SELF, tid):
            break
        threading.Event().wait(0.01)
    assert tid in procfs.tasks()
    number = procfs.syscall(procfs.SELF, tid)
    seen = procfs.sleeps_in_write(procfs.SELF, tid)
    os.read(read, 1 << 16)
    writer.join()
    os.close(read)
    os.close(write)
    if not number:
        pytest.skip("this kernel does not show what threads of its own process wait for")
    assert number[1] == write
    assert seen


def test_a_process_that_is_gone() -> None:
    assert procfs.stat(GONE) is None
    assert procfs.status(GONE) == {}
    assert not procfs.runs(GONE)
    assert procfs.start(GONE) == 0
    assert procfs.uid(GONE) == -1
    assert procfs.cmdline(GONE) == procfs.name(GONE) == procfs.exe(GONE) == ""
    assert procfs.children(GONE) == procfs.descendants(GONE) == procfs.tasks(GONE) == []
    assert procfs.handles_signal(GONE, signal.SIGTERM) is None
    assert procfs.pid_namespace(GONE) == 0
    with pytest.raises(ProcessLookupError):
        procfs.fds(GONE)


def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not procfs.runs(process.pid)
    process.wait()
    process.stdout.close()
