"""Find, from outside, the threads that sleep in a write to a full pipe, and that pipe."""

from __future__ import annotations

import array
import fcntl
import os
import termios
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

from .kernel import F_GETPIPE_SZ

READS = (os.O_RDONLY, os.O_RDWR)


@dataclass(frozen=True)
class Thread:
    """A thread that sleeps in a write to a pipe, and the descriptor that it writes to."""

    pid: int
    tid: int
    fd: int


@dataclass(frozen=True)
class Holder:
    """A process that could read the pipe."""

    pid: int
    name: str


@dataclass(frozen=True)
class FullPipe:
    """A pipe in which threads are stuck: how full it is, and who holds its other end."""

    inode: int
    path: str
    fill_bytes: int
    size_bytes: int
    threads: Tuple[Thread, ...]
    holders: Tuple[Holder, ...]


def find(pid: int) -> List[FullPipe]:
    """Return the pipes in which threads of a process and its descendants are stuck.

    Needs the right to look into the process: the same user (and ptrace scope), or root. Raises `ProcessLookupError`,
    `PermissionError`.
    """
    by_inode: Dict[int, List[Thread]] = {}
    for process in instance(pid):
        for thread in _stuck_threads(process):
            inode = _pipe(process, thread.fd)
            if inode is not None:
                by_inode.setdefault(inode, []).append(thread)
    return [_describe(inode, threads) for inode, threads in by_inode.items()]


def instance(pid: int) -> List[int]:
    """Return a process and all its descendants."""
    if not os.path.isdir(f"/proc/{pid}"):
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg)
    parents = {process: _parent(process) for process in _processes()}
    found, before = {pid}, 0
    while len(found) > before:
        before = len(found)
        found |= {process for process, parent in parents.items() if parent in found}
    return sorted(found)


def _stuck_threads(pid: int) -> Iterator[Thread]:
    for name in _list(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{name}"
        # pipe_write, since Linux 6.16 anon_pipe_write and fifo_pipe_write
        if "pipe_write" in _read(f"{folder}/wchan") or "pipe_write" in _read(f"{folder}/stack"):
            yield Thread(pid, int(name), _written_fd(folder))


def _written_fd(folder: str) -> int:
    # number of the call, then its arguments: the first of write(2) and writev(2) is the descriptor
    words = _read(f"{folder}/syscall").split()
    return int(words[1], 16) if len(words) > 1 else 2


def _describe(inode: int, threads: Sequence[Thread]) -> FullPipe:
    path = f"/proc/{threads[0].pid}/fd/{threads[0].fd}"
    fill_bytes, size_bytes = _fill(path)
    return FullPipe(inode, path, fill_bytes, size_bytes, tuple(threads), tuple(_holders(inode)))


def _fill(path: str) -> Tuple[int, int]:
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        waiting = array.array("i", [0])
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
        return waiting[0], fcntl.fcntl(fd, F_GETPIPE_SZ)
    finally:
        os.close(fd)


def _holders(inode: int) -> Iterator[Holder]:
    for pid in _processes():
        for name in _list(f"/proc/{pid}/fd"):
            fd = int(name)
            if _pipe(pid, fd) == inode and _mode(pid, fd) in READS:
                yield Holder(pid, _read(f"/proc/{pid}/comm").strip())
                break


def _pipe(pid: int, fd: int) -> Optional[int]:
    try:
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return None
    if target.startswith("pipe:["):
        return int(target[len("pipe:[") : -1])
    return None


def _mode(pid: int, fd: int) -> Optional[int]:
    for line in _read(f"/proc/{pid}/fdinfo/{fd}").splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE
    return None


def _parent(pid: int) -> int:
    # the name, in parentheses, may have blanks and parentheses of its own
    words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(words[1]) if len(words) > 1 else 0


def _processes() -> Set[int]:
    return {int(name) for name in _list("/proc") if name.isdigit()}


def _list(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:  # gone, or not ours to look at
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
