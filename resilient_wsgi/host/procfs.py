"""What /proc reports about a process: the one reader of /proc/PID.

A process may end at any moment, or be hidden from this user: then there is nothing to return (None,
"", an empty list), and no error, except where a function says so.

Exec probes import this module every few seconds, each in a process of its own: it imports nothing
but `os`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Set, Tuple, Union

    Pid = Union[int, str]

SELF = "self"
_SOCKET = "socket:["
# where the kernel puts a thread to sleep that writes to a full pipe (pipe_write; since Linux 6.16
# anon_pipe_write and fifo_pipe_write), to a UNIX stream or datagram socket, to TCP
_WRITES = ("pipe_write", "sock_alloc_send_pskb", "unix_wait_for_peer", "sk_stream_wait_memory")


class Stat:
    """The fields of proc(5)'s /proc/PID/stat that are of use here; times are in clock ticks.

    `start` counts since boot; with the pid it identifies a process. `stack_start` is the same in
    all forks of a program and changes with each exec; 0 if it is hidden.
    """

    __slots__ = ("name", "ppid", "stack_start", "start", "state", "stime", "threads", "utime")

    def __init__(self, text: str) -> None:
        # the name is in parentheses and may contain blanks and parentheses itself
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        self.name = head.partition("(")[2]
        self.state = fields[0]
        self.ppid = int(fields[1])
        self.utime, self.stime = int(fields[11]), int(fields[12])
        self.threads = int(fields[17])
        self.start = int(fields[19])
        self.stack_start = int(fields[25])

    @property
    def runs(self) -> bool:
        """Whether it runs: a zombie does not."""
        return self.state not in ("Z", "X")

    def __repr__(self) -> str:
        return f"<Stat {self.name} {self.state} ppid={self.ppid} start={self.start}>"


def read(path: str) -> str:
    """Return the text of a file of /proc or /sys, "" if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def pids() -> List[int]:
    """Return all processes that this one can see."""
    return _numbers("/proc")


def stat(pid: Pid, tid: Pid = "") -> Optional[Stat]:
    """Return the fields of a process, or of one of its threads; None if it is gone."""
    text = read(f"{_folder(pid, tid)}/stat")
    return Stat(text) if text else None


def status(pid: Pid = SELF, tid: Pid = "") -> Dict[str, str]:
    """Return the fields of /proc/PID/status by name."""
    lines = read(f"{_folder(pid, tid)}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def runs(pid: int) -> bool:
    """Return whether a process runs: one that is gone or a zombie does not."""
    found = stat(pid)
    return found is not None and found.runs


def start(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot; 0 if it is gone."""
    found = stat(pid)
    return found.start if found is not None else 0


def cmdline(pid: int) -> str:
    """Return the command line of a process, as it is: escape it before you print it."""
    return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()


def name(pid: int) -> str:
    """Return the name of a process's command, as it is: escape it before you print it."""
    return read(f"/proc/{pid}/comm").strip()


def exe(pid: int) -> str:
    """Return the program that a process executes."""
    return link_of(f"/proc/{pid}/exe")


def uid(pid: int) -> int:
    """Return the effective user id of a process, -1 if it is gone."""
    # not the owner of its folder: that is root's if the kernel protects the process
    words = status(pid).get("Uid", "").split()
    return int(words[1]) if words else -1


def uids(pid: int) -> Set[int]:
    """Return the real, effective, saved and file system user ids of a process."""
    return set(map(int, status(pid).get("Uid", "").split()))


def inner_pid(pid: int) -> int:
    """Return the pid that a process has in its own pid namespace."""
    words = status(pid).get("NSpid", "").split()
    return int(words[-1]) if words else pid


def pid_namespace(pid: Pid = SELF) -> int:
    """Return the inode of a process's pid namespace, 0 if it cannot be seen."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def handles_signal(pid: Pid, number: int) -> Optional[bool]:
    """Return whether a process has a handler for a signal; None if that cannot be seen."""
    caught = status(pid).get("SigCgt")
    return None if caught is None else bool(int(caught, 16) >> (number - 1) & 1)


def children(pid: int) -> List[int]:
    """Return the children of a process, those of all its threads, in the order of their pids."""
    if os.path.exists("/proc/thread-self/children"):
        texts = [read(f"/proc/{pid}/task/{tid}/children") for tid in tasks(pid)]
        return sorted(map(int, " ".join(texts).split()))
    return sorted(each for each, ppid in _parents().items() if ppid == pid)  # CONFIG_PROC_CHILDREN


def descendants(pid: int) -> List[int]:
    """Return the children of a process, their children, and so on, in the order of their pids."""
    parents = _parents()
    found, newest = {pid}, {pid}
    while newest:
        newest = {each for each, ppid in parents.items() if ppid in newest} - found
        found |= newest
    return sorted(found - {pid})


def tasks(pid: Pid = SELF) -> List[int]:
    """Return the ids of a process's threads."""
    return _numbers(f"/proc/{pid}/task")


def fds(pid: Pid = SELF) -> List[int]:
    """Return the open descriptors of a process.

    Raises `PermissionError`, `ProcessLookupError`; `FileNotFoundError` if /proc is not mounted.
    """
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
    except FileNotFoundError:
        if not os.path.exists("/proc/self"):
            raise
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg) from None


def link(pid: Pid, fd: int) -> str:
    """Return what a descriptor of a process refers to, as /proc writes it; "" if it is closed."""
    return link_of(f"/proc/{pid}/fd/{fd}")


def links(pid: Pid = SELF) -> Dict[int, str]:
    """Return the open descriptors of a process and what each refers to. Raises as `fds` does."""
    found = ((fd, link(pid, fd)) for fd in fds(pid))
    return {fd: target for fd, target in found if target}


def socket_inodes(pid: Pid = SELF) -> List[int]:
    """Return the inodes of a process's sockets, ordered by descriptor. Raises as `fds` does."""
    targets = links(pid).values()
    return [int(target[len(_SOCKET) : -1]) for target in targets if target.startswith(_SOCKET)]


def access_mode(pid: Pid, fd: int) -> Optional[int]:
    """Return for what a descriptor was opened: `os.O_RDONLY`, `O_WRONLY`, `O_RDWR`, or None."""
    for line in read(f"/proc/{pid}/fdinfo/{fd}").splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE
    return None


def sleeps_in_write(pid: Pid, tid: Pid) -> bool:
    """Return whether a thread sleeps in a write to a pipe or a socket."""
    folder = _folder(pid, tid)
    place = read(f"{folder}/wchan")
    if len(place) < 2:  # "0": this kernel does not tell, but root may see the stack
        place = read(f"{folder}/stack")
    return any(function in place for function in _WRITES)


def syscall(pid: Pid, tid: Pid) -> Tuple[int, ...]:
    """Return the number of the system call that a thread is in, and its arguments; none if it is in
    none, or that may not be seen.
    """
    words = read(f"{_folder(pid, tid)}/syscall").split()
    return (int(words[0]), *(int(word, 16) for word in words[1:7])) if len(words) > 7 else ()


def _folder(pid: Pid, tid: Pid = "") -> str:
    return f"/proc/{pid}/task/{tid}" if tid else f"/proc/{pid}"


def _parents() -> Dict[int, int]:
    found = ((pid, stat(pid)) for pid in pids())
    return {pid: each.ppid for pid, each in found if each is not None}


def link_of(path: str) -> str:
    """Return what a link of /proc refers to, "" if it cannot be read."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _numbers(folder: str) -> List[int]:
    try:
        return [int(each) for each in os.listdir(folder) if each.isdigit()]
    except OSError:
        return []
