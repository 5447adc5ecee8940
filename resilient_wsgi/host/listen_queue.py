"""The true depth and limit of listen queues: of this process's sockets, and of another process's.

`uwsgi.listen_queue()` is always 0 in a worker, and on UNIX sockets in the master and the stats
server too (unbit/uwsgi #2442, #2588, #2709).
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Dict, Iterable, List, Optional, Set, Tuple

from ..core.system import SYSTEM, System
from . import sock_diag
from .sock_diag import Listener

__all__ = [
    "Listener",
    "depth",
    "families",
    "listening_descriptors",
    "listening_inodes",
    "of_descriptor",
    "of_process",
    "somaxconn",
]

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


def of_descriptor(fd: int) -> Listener:
    """Return the queue of a listening descriptor of this process.

    Raises `OSError` where it is none, or not on Linux.
    """
    # TCP_INFO would be cheaper, but needs a socket object, and making one of a descriptor sets
    # O_NONBLOCK on a description that others share if the app has called socket.setdefaulttimeout()
    inode = os.fstat(fd).st_ino
    for family in FAMILIES:
        listener = sock_diag.listeners(family).get(inode)
        if listener is not None:
            return listener
    msg = f"descriptor {fd} does not listen"
    raise OSError(msg)


def depth(fds: Iterable[int]) -> Optional[int]:
    """Return how many connections wait in the queues of these listening descriptors together; None
    where it cannot be known.

    One question to the kernel for each family that is among them, of some microseconds.
    """
    try:
        wanted = {os.fstat(fd).st_ino for fd in fds}
    except OSError:
        return None
    found = 0
    for family in FAMILIES:
        if not wanted:
            break
        known = _listeners(family)
        found += sum(known[inode].depth for inode in wanted & set(known))
        wanted -= set(known)
    return None if wanted else found


def listening_descriptors() -> Tuple[int, ...]:
    """Return those descriptors of this process that are listening sockets; none where that cannot
    be known.
    """
    known = listening_inodes()
    found = []
    for fd in map(int, os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ()):
        with contextlib.suppress(OSError):
            if os.fstat(fd).st_ino in known:
                found.append(fd)
    return tuple(found)


def listening_inodes() -> Set[int]:
    """Return the inodes of all listening sockets of this network namespace; none where that cannot
    be known.
    """
    return {inode for family in FAMILIES for inode in _listeners(family)}


def _listeners(family: int) -> Dict[int, Listener]:
    try:
        return sock_diag.listeners(family)
    except (OSError, AttributeError):  # no such family here; no netlink at all
        return {}


def families(fds: Iterable[int]) -> Set[int]:
    """Return the families of these listening descriptors: `AF_UNIX`, `AF_INET`, `AF_INET6`; none
    where one's cannot be known.
    """
    try:
        inodes = {os.fstat(fd).st_ino for fd in fds}
    except OSError:
        return set()
    found = {family: inodes & set(_listeners(family)) for family in FAMILIES}
    return (
        {family for family in FAMILIES if found[family]}
        if inodes == set().union(*found.values())
        else set()
    )


def of_process(pid: int) -> List[Listener]:
    """Return the queues of all listening sockets that a process has open, in the order of their
    descriptors.

    Needs the right to read /proc/PID/fd (the same user, or root), and the same network namespace.
    Raises `ProcessLookupError`, `PermissionError`.
    """
    inodes = []
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = sorted(os.listdir(folder), key=int)
    except FileNotFoundError:
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg) from None
    for name in descriptors:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.append(int(target[len("socket:[") : -1]))
    known = {}
    for family in FAMILIES:
        known.update(sock_diag.listeners(family))
    return [known[inode] for inode in dict.fromkeys(inodes) if inode in known]


def somaxconn(system: System = SYSTEM) -> int:
    """Return the limit that this network namespace puts on every listen queue, 0 where it is not
    known.
    """
    text = system.read_text("/proc/sys/net/core/somaxconn").strip()
    return int(text) if text.isdigit() else 0
