"""The logs that are full and the threads that are stuck in writing them, seen from outside.

A log is a pipe that is written to, or a socket that is standard output or standard error: a thread
that sends a response to a slow client sleeps in a socket, too.
"""

from __future__ import annotations

import array
import fcntl
import os
import stat
import termios
import time
from contextlib import suppress
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from . import procfs, sockets
from .linux import F_GETPIPE_SZ

APART_SECONDS = 0.2  # between two scans: a write that waits for a moment is not stuck
SLEEPS = "voluntary_ctxt_switches"

File = Tuple[str, int]  # its kind, "pipe" or "socket", and its inode


class Thread(NamedTuple):
    """A thread that sleeps in a write, the descriptor that it writes to, and how often it has slept
    so far.
    """

    pid: int
    tid: int
    fd: int
    sleeps: int = 0


class Holder(NamedTuple):
    """A process that holds the other end."""

    pid: int
    name: str


class FullLog(NamedTuple):
    """A log in which threads are stuck, and the processes that could read it.

    The sizes are those of a pipe, 0 for a socket.
    """

    kind: str
    inode: int
    path: str
    fill_bytes: int
    size_bytes: int
    threads: Tuple[Thread, ...]
    holders: Tuple[Holder, ...]

    @property
    def is_pipe(self) -> bool:
        """Whether it is a pipe, which can be grown and drained from outside."""
        return self.kind == "pipe"


def full_logs(pid: int) -> List[FullLog]:
    """Return the logs in which threads of a process and its descendants are stuck.

    Needs the right to look into the process: the same user (and ptrace scope), or root. Scans twice
    if there are any, to leave out those that only wait for a moment. Raises `ProcessLookupError`.
    """
    by_file: Dict[File, List[Thread]] = {}
    for thread in _stuck(tree(pid)):
        file = _file(thread.pid, thread.fd)
        if file is not None and (file[0] == "pipe" or file in _standard_files(thread.pid)):
            by_file.setdefault(file, []).append(thread)
    return [_describe(file, threads) for file, threads in by_file.items()]


def stuck_in_log(pids: Iterable[int]) -> List[int]:
    """Return which of these processes have a thread that is stuck in a write to standard output or
    standard error.
    """
    stuck = _stuck(list(pids))
    return sorted({thread.pid for thread in stuck if _writes_standard_file(thread)})


def tree(pid: int) -> List[int]:
    """Return a process and all its descendants. Raises `ProcessLookupError`."""
    if not os.path.isdir(f"/proc/{pid}"):
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg)
    return sorted([pid, *procfs.descendants(pid)])


def hidden(pid: int) -> List[int]:
    """Return which of a process and its descendants this user may not look into."""
    return [process for process in tree(pid) if _is_hidden(process)]


def _is_hidden(pid: int) -> bool:
    try:
        procfs.fds(pid)
    except PermissionError:
        return procfs.runs(pid)
    except OSError:
        pass
    return False


def _stuck(pids: Sequence[int]) -> List[Thread]:
    before = {thread for pid in pids for thread in _writing(pid)}
    if not before:
        return []
    time.sleep(APART_SECONDS)
    return [thread for pid in pids for thread in _writing(pid) if thread in before]


def _writing(pid: int) -> Iterator[Thread]:
    for tid in procfs.tasks(pid):
        if procfs.sleeps_in_write(pid, tid):
            # of write(2), writev(2), send(2) the first argument is the descriptor
            call = procfs.syscall(pid, tid)
            sleeps = procfs.status(pid, tid).get(SLEEPS, "0")
            yield Thread(pid, tid, call[1] if call else 2, int(sleeps))


def _writes_standard_file(thread: Thread) -> bool:
    file = _file(thread.pid, thread.fd)
    return file is not None and file in _standard_files(thread.pid)


def _standard_files(pid: int) -> Tuple[Optional[File], ...]:
    return _file(pid, 1), _file(pid, 2)


def _describe(file: File, threads: Sequence[Thread]) -> FullLog:
    kind, inode = file
    path = f"/proc/{threads[0].pid}/fd/{threads[0].fd}"
    fill_bytes, size_bytes = _fill(path) if kind == "pipe" else (0, 0)
    readers = _holders(file) if kind == "pipe" else _peers(inode)
    return FullLog(kind, inode, path, fill_bytes, size_bytes, tuple(threads), tuple(readers))


def _fill(path: str) -> Tuple[int, int]:
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        waiting = array.array("i", [0])
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
        return waiting[0], fcntl.fcntl(fd, F_GETPIPE_SZ)
    finally:
        os.close(fd)


def _holders(file: File) -> List[Holder]:
    """Return the processes that could read it.

    Of a pipe these are first of all those that only read: this library opens its own for both.
    """
    modes: Dict[int, Set[Optional[int]]] = {}
    for pid in procfs.pids():
        for fd in _fds(pid):
            if _file(pid, fd) == file:
                modes.setdefault(pid, set()).add(procfs.access_mode(pid, fd))
    pids = list(modes)
    if file[0] == "pipe":
        readers = [pid for pid in pids if os.O_RDONLY in modes[pid]]
        pids = readers or [pid for pid in pids if os.O_RDWR in modes[pid]]
    return [Holder(pid, procfs.name(pid)) for pid in pids]


def _peers(inode: int) -> Iterable[Holder]:
    with suppress(OSError):  # another network namespace's, or no UNIX socket
        peer = sockets.unix_peers().get(inode)
        if peer:
            return _holders(("socket", peer))
    return ()


def _fds(pid: int) -> List[int]:
    try:
        return procfs.fds(pid)
    except OSError:  # gone, or not ours to look at
        return []


def _file(pid: int, fd: int) -> Optional[File]:
    target = procfs.link(pid, fd)
    kind, _, rest = target.partition(":[")
    if kind in ("pipe", "socket") and rest:
        return kind, int(rest[:-1])
    return _fifo(pid, fd) if target else None


def _fifo(pid: int, fd: int) -> Optional[File]:
    with suppress(OSError):
        about = os.stat(f"/proc/{pid}/fd/{fd}")
        if stat.S_ISFIFO(about.st_mode):
            return "pipe", about.st_ino
    return None
