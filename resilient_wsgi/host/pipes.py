"""Find, from outside, the threads that sleep in a write to a log that is full: a pipe, or a socket
that is standard output or error.
"""

from __future__ import annotations

import array
import fcntl
import os
import stat
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from . import sock_diag
from .linux import F_GETPIPE_SZ

# where the kernel has a thread sleep: pipe_write, since Linux 6.16 anon_pipe_write and
# fifo_pipe_write; UNIX sockets that are streams, and those that keep messages; TCP
PIPE, SOCKETS = (
    "pipe_write",
    ("sock_alloc_send_pskb", "unix_wait_for_peer", "sk_stream_wait_memory"),
)
APART_SECONDS = 0.2  # between two looks: a write that waits for a moment is not stuck


@dataclass(frozen=True)
class Thread:
    """A thread that sleeps in a write, the descriptor that it writes to, and how often it has slept
    so far.
    """

    pid: int
    tid: int
    fd: int
    sleeps: int = 0


@dataclass(frozen=True)
class Holder:
    """A process that could read it."""

    pid: int
    name: str


@dataclass(frozen=True)
class Full:
    """A log in which threads are stuck, and who holds its other end: a pipe, of so many bytes, or a
    socket (0 bytes).
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


def find(pid: int) -> List[Full]:
    """Return the logs in which threads of a process and its descendants are stuck.

    Needs the right to look into the process: the same user (and ptrace scope), or root. Looks twice
    if there are any, to leave out those that only wait for a moment. Raises `ProcessLookupError`.
    """
    processes = instance(pid)
    before = {thread for process in processes for thread in _sleeping(process)}
    if not before:
        return []
    time.sleep(APART_SECONDS)
    by_file: Dict[Tuple[str, int], List[Thread]] = {}
    for process in processes:
        for thread in _sleeping(process):
            file = _file(process, thread.fd)
            if thread in before and file is not None and _is_log(file, process):
                by_file.setdefault(file, []).append(thread)
    return [_describe(kind, inode, threads) for (kind, inode), threads in by_file.items()]


def in_log(pids: Iterable[int]) -> List[int]:
    """Return which of these processes have a thread that is stuck in a write to standard output or
    error.
    """
    before = {thread for pid in pids for thread in _sleeping(pid)}
    if before:
        time.sleep(APART_SECONDS)
    after = {thread for pid in pids for thread in _sleeping(pid)}
    return sorted({thread.pid for thread in before & after if _writes_log(thread)})


def _writes_log(thread: Thread) -> bool:
    file = _file(thread.pid, thread.fd)
    return file is not None and file in (_file(thread.pid, 1), _file(thread.pid, 2))


def unseen(pid: int) -> List[int]:
    """Return which of a process and its descendants this user may not look into."""
    return [process for process in instance(pid) if _is_hidden(process)]


def _is_hidden(pid: int) -> bool:
    try:
        os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1] not in (["Z"], ["X"], [])
    except OSError:
        pass
    return False


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


def _sleeping(pid: int) -> Iterator[Thread]:
    for name in _list(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{name}"
        place = _read(f"{folder}/wchan")
        if len(place) < 2:  # "0": this kernel does not tell, but root may see the stack
            place = _read(f"{folder}/stack")
        if any(word in place for word in (PIPE, *SOCKETS)):
            yield Thread(pid, int(name), _written_fd(folder), _sleeps(folder))


def _sleeps(folder: str) -> int:
    for line in _read(f"{folder}/status").splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    return 0


def _written_fd(folder: str) -> int:
    # number of the call, then its arguments: the first of write(2), writev(2), send(2) is the
    # descriptor
    words = _read(f"{folder}/syscall").split()
    return int(words[1], 16) if len(words) > 1 else 2


def _is_log(file: Tuple[str, int], pid: int) -> bool:
    # a thread that sends an answer to a slow client sleeps in a socket, too
    return file[0] == "pipe" or file in (_file(pid, 1), _file(pid, 2))


def _describe(kind: str, inode: int, threads: Sequence[Thread]) -> Full:
    path = f"/proc/{threads[0].pid}/fd/{threads[0].fd}"
    fill_bytes, size_bytes = _fill(path) if kind == "pipe" else (0, 0)
    readers = _holders(("pipe", inode)) if kind == "pipe" else _peers(inode)
    return Full(kind, inode, path, fill_bytes, size_bytes, tuple(threads), tuple(readers))


def _fill(path: str) -> Tuple[int, int]:
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        waiting = array.array("i", [0])
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
        return waiting[0], fcntl.fcntl(fd, F_GETPIPE_SZ)
    finally:
        os.close(fd)


def _holders(file: Tuple[str, int]) -> List[Holder]:
    """Return who could read it; of a pipe first of all who only reads: this library opens its own
    for both.
    """
    modes: Dict[int, Set[Optional[int]]] = {}
    for pid in _processes():
        for name in _list(f"/proc/{pid}/fd"):
            if _file(pid, int(name)) == file:
                modes.setdefault(pid, set()).add(_mode(pid, int(name)))
    pids = list(modes)
    if file[0] == "pipe":
        readers = [pid for pid in pids if os.O_RDONLY in modes[pid]]
        pids = readers or [pid for pid in pids if os.O_RDWR in modes[pid]]
    return [Holder(pid, _read(f"/proc/{pid}/comm").strip()) for pid in pids]


def _peers(inode: int) -> Iterable[Holder]:
    with suppress(OSError):  # another network namespace's, or no UNIX socket
        peer = sock_diag.unix_peers().get(inode)
        if peer:
            return _holders(("socket", peer))
    return ()


def _file(pid: int, fd: int) -> Optional[Tuple[str, int]]:
    try:
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return None
    kind, _, rest = target.partition(":[")
    if kind in ("pipe", "socket") and rest:
        return kind, int(rest[:-1])
    return _fifo(pid, fd)


def _fifo(pid: int, fd: int) -> Optional[Tuple[str, int]]:
    with suppress(OSError):
        status = os.stat(f"/proc/{pid}/fd/{fd}")
        if stat.S_ISFIFO(status.st_mode):
            return "pipe", status.st_ino
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
