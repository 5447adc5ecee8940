"""Name what a thread of this process waits for, in any code: any driver, in
Python or in C, without patching it. Linux on x86_64 and aarch64.

`wait_of()` looks, `waits_end.Ends` ends what may be ended. Both read what the kernel says about our
own threads, and cost nothing until they are called.
"""

from __future__ import annotations

import os
import sys
from typing import Dict, List, NamedTuple, Optional

from . import procfs, sockets, waits_calls, waits_sockets
from .waits_calls import Call, Target, call_of
from .waits_sockets import Endpoint, endpoint_of, is_in_process, socket_inode

SOCKET, SEVERAL, PIPE, FILE, OTHER = "socket", "several", "pipe", "file", "other"
LOCK, FILE_LOCK, SLEEP, CHILD = "lock", "file lock", "sleep", "child"

_NOT_DUMPABLE = (
    "this process has changed its user, so Linux hides the system calls of its threads. Fix: start "
    "the server as that user (systemd: User=) instead of uWSGI's uid= or gunicorn's --user"
)


class Wait(NamedTuple):
    """What a thread waits for.

    `peer` is `host:port`, the path of a UNIX socket, or that of a file; `service` is what usually
    answers there. `fd` and `inode` are those of the one descriptor that is waited for, -1 and 0
    where there is none, or several.
    """

    kind: str
    call: Call
    peer: str = ""
    service: str = ""
    fd: int = -1
    inode: int = 0
    device: int = 0
    endpoint: Optional[Endpoint] = None
    connecting: bool = False
    others: int = 0  # descriptors of the same call that only threads of this process can make ready

    @property
    def thread(self) -> int:
        """Return the native id of the thread that waits."""
        return self.call.thread

    def __str__(self) -> str:
        name = f"{self.service} {self.peer}".strip()
        if self.kind == SOCKET:
            name = name or "an unnamed socket"
            return f"connection to {name}" if self.connecting else name
        if self.kind in (LOCK, SLEEP, PIPE):
            return {LOCK: "a lock", SLEEP: "the end of a sleep", PIPE: "a pipe"}[self.kind]
        if self.kind == CHILD:
            return "a child process"
        if self.kind == SEVERAL:
            return f"several descriptors ({name})"
        if self.kind == FILE_LOCK:
            return f"a file lock on {name}"
        return f"{self.call.name} {name}".strip()


def why_not() -> str:
    """Return why no wait of this process can be seen, with the remedy; "" if they can."""
    if waits_calls.MACHINE not in waits_calls.TABLES or sys.maxsize < 1 << 32:
        return (
            f"system calls are known for 64-bit x86_64 and aarch64, not for {waits_calls.MACHINE}"
        )
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} is not supported, only CPython"
    try:
        waits_calls.read("/proc/thread-self/syscall", 256)
    except PermissionError:
        return _NOT_DUMPABLE
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return (
            f"the kernel does not show the system calls of threads ({reason}): no /proc, or gVisor"
        )
    return ""


def wait_of(thread: int) -> Optional[Wait]:
    """Return what a thread of this process waits for, by its native id; None if it runs, is gone,
    or may not be seen (`why_not()`).
    """
    call = call_of(thread)
    return None if call is None else named(call)


def named(call: Call) -> Wait:
    """Return what a system call waits for."""
    name, arguments = call.name, call.arguments
    if name in waits_calls.LOCKS:
        return Wait(LOCK, call)
    if name in waits_calls.SLEEPS or (_polls(name) and not call.targets):
        return Wait(SLEEP, call)
    if name in waits_calls.CHILDREN:
        return Wait(CHILD, call)
    if name in waits_calls.FILE_LOCKS:
        return Wait(FILE_LOCK, call, procfs.link("self", arguments[0]))
    if name in waits_calls.DISK:
        return Wait(FILE, call, procfs.link("self", arguments[0]))
    if name in waits_calls.PATHS or not call.targets:
        return Wait(OTHER, call)
    return _of_descriptors(call)


def _polls(name: str) -> bool:
    """Return whether a system call waits for descriptors to become ready, rather than for data."""
    return name in (*waits_calls.POLLS, *waits_calls.SELECTS, *waits_calls.EPOLLS)


def _of_descriptors(call: Call) -> Wait:
    targets = list(call.targets)
    if len(targets) > 1:
        links = _links()
        targets = [each for each in targets if not _is_bystander(each, links)] or targets[:1]
    if len(targets) > 1:
        return Wait(SEVERAL, call, ", ".join(filter(None, map(_text_of, targets[:8]))))
    return _of_one(call, targets[0])._replace(others=len(call.targets) - 1)


def _links() -> Dict[int, str]:
    try:
        return procfs.links()
    except OSError:
        return {}


def _is_bystander(target: Target, links: Dict[int, str]) -> bool:
    return is_in_process(target.fd, links.get(target.fd, ""), links)


def _text_of(target: Target) -> str:
    endpoint = endpoint_of(target.fd)
    if endpoint is None:
        return procfs.link("self", target.fd)
    return f"{waits_sockets.service_of(endpoint.peer)} {endpoint.peer}".strip()


def _of_one(call: Call, target: Target) -> Wait:
    try:
        status = os.fstat(target.fd)
    except OSError:  # closed meanwhile, by another thread
        return Wait(OTHER, call)
    link = procfs.link("self", target.fd)
    if not socket_inode(link) or (target.inode and target.inode != status.st_ino):
        kind = PIPE if link.startswith("pipe:[") else FILE if link.startswith("/") else OTHER
        return Wait(kind, call, link, fd=target.fd, inode=status.st_ino, device=status.st_dev)
    endpoint = endpoint_of(target.fd)
    peer = "" if endpoint is None else endpoint.peer
    connecting = not peer and (call.name == "connect" or bool(endpoint and endpoint.is_tcp))
    if connecting:
        peer = _destination(call, status.st_ino)
    service = waits_sockets.service_of(peer)
    return Wait(
        *(SOCKET, call, peer, service, target.fd, status.st_ino, status.st_dev),
        endpoint=endpoint,
        connecting=connecting and bool(peer),
    )


def _destination(call: Call, inode: int) -> str:
    """Return where a socket that is not connected yet connects to, "" if that cannot be known."""
    try:
        if call.name == "connect":
            size = min(call.arguments[2], 128)
            return waits_sockets.address_text(waits_calls.memory(call.arguments[1], size))
        return sockets.connecting().get(inode, "")
    except OSError:
        return ""


def other_waits(thread: int, inode: int) -> List[int]:
    """Return the other threads of this process whose system call waits for the same inode."""
    found = []
    for other in procfs.tasks():
        call = call_of(other) if other != thread else None
        if call is not None and inode in (
            each.inode or waits_sockets.inode_of(each.fd) for each in call.targets
        ):
            found.append(other)
    return found
