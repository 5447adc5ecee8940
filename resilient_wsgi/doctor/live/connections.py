"""The TCP connections of processes, as the network namespace that they are in lists them."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import Dict, Iterable, List, NamedTuple, Set

from ...host import pipes, procfs
from ...host.waits_calls import DIRECT, MACHINE, POLLS, TABLES

ESTABLISHED, SYN_SENT, CLOSE_WAIT, LISTEN = "01", "02", "08", "0A"
_NUMBERS = TABLES.get(MACHINE, {})
_POLLS = {_NUMBERS[name] for name in POLLS if name in _NUMBERS}
_DIRECT = {_NUMBERS[name] for name in DIRECT if name in _NUMBERS and "accept" not in name}


class Connection(NamedTuple):
    """A TCP socket: its state as in /proc/net/tcp, its ports, its peer."""

    inode: int
    state: str
    port: int
    peer: str

    @property
    def listens(self) -> bool:
        """Whether it takes connections instead of being one."""
        return self.state == LISTEN


class Waiting(NamedTuple):
    """The socket that a thread waits for, and how often the thread has slept so far: the same
    twice is one wait.
    """

    inode: int
    sleeps: str


def of_namespace(pid: int) -> Dict[int, Connection]:
    """Return the TCP sockets of the network namespace of a process, by inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in procfs.read(f"/proc/{pid}/net/{name}").splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[9] != "0":
                port = int(words[1].rpartition(":")[2], 16)
                found[int(words[9])] = Connection(int(words[9]), words[3], port, _address(words[2]))
    return found


def of_processes(pids: Iterable[int], known: Dict[int, Connection]) -> List[Connection]:
    """Return the sockets that these processes have open, each once."""
    return [known[inode] for inode in inodes(pids) if inode in known]


def inodes(pids: Iterable[int]) -> Set[int]:
    """Return the inodes of the sockets that these processes have open, as far as may be seen."""
    found: Set[int] = set()
    for pid in pids:
        with suppress(OSError):  # gone, or not ours to look at
            found.update(procfs.socket_inodes(pid))
    return found


def waited_for(pid: int) -> Dict[int, Waiting]:
    """Return what each thread of a process waits for, of those that wait for a socket.

    A thread that sleeps in read, recv, send, connect, or in a poll of one descriptor. Needs the
    right to trace the process for the latter.
    """
    found = {}
    for tid in procfs.tasks(pid):
        call = procfs.syscall(pid, tid)
        if not call:
            continue
        number, first, second = call[:3]
        fd = first if number in _DIRECT else -1
        if number in _POLLS and second == 1:
            fd = _descriptor_at(pid, first)
        target = procfs.link(pid, fd) if fd >= 0 else ""
        if target.startswith("socket:["):
            sleeps = procfs.status(pid, tid).get(pipes.SLEEPS, "")
            found[tid] = Waiting(int(target[len("socket:[") : -1]), sleeps)
    return found


def _descriptor_at(pid: int, address: int) -> int:
    """Return the descriptor in a pollfd in the memory of a process, -1 if it cannot be read."""
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        return int(struct.unpack("=i", os.pread(fd, 4, address))[0])
    except (OSError, OverflowError, struct.error):
        return -1
    finally:
        os.close(fd)


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp, whose words are in the order of this machine."""
    raw, _, port = text.partition(":")
    words = [int(raw[n : n + 8], 16) for n in range(0, len(raw), 8)]
    data = struct.pack(f"={len(words)}I", *words)
    if len(data) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, data)}:{int(port, 16)}"
    host = socket.inet_ntop(socket.AF_INET6, data)
    mapped = host.startswith("::ffff:") and "." in host
    return f"{host[7:] if mapped else f'[{host}]'}:{int(port, 16)}"
