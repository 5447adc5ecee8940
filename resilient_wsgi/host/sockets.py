"""Listening sockets and their queues, of this process and of others, as the kernel itself has them.

It is asked by inode, through netlink `sock_diag`, which needs no privilege, and sees the sockets of
this process's network namespace. Source of the layouts: linux/sock_diag.h, linux/inet_diag.h,
linux/unix_diag.h. `uwsgi.listen_queue()` would be simpler, but is always 0 in a worker, and on UNIX
sockets in the master and the stats server, too (unbit/uwsgi #2442, #2588, #2709).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from typing import (
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

from ..core.system import SYSTEM
from . import procfs

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x1 | 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_SYN_SENT, TCP_LISTEN = 2, 10
UDIAG_SHOW_NAME, UDIAG_SHOW_PEER, UDIAG_SHOW_RQLEN = 0x1, 0x4, 0x10
UNIX_DIAG_NAME, UNIX_DIAG_PEER, UNIX_DIAG_RQLEN = 0, 2, 4

_HEADER = struct.Struct("=IHHII")
_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UNIX_MESSAGE = struct.Struct("=BBBBIII")
_INET_REQUEST = struct.Struct("=BBBBI48s")
_INET_MESSAGE = struct.Struct("=BBBB2s2s16s16sIIIIIIII")
_ATTRIBUTE = struct.Struct("=HH")
_TWO = struct.Struct("=II")


class Listener(NamedTuple):
    """A listening socket: its address, how many connections wait in its queue, and for how many
    there is room.
    """

    name: str
    depth: int
    limit: int


def listener(fd: int) -> Listener:
    """Return the queue of a listening descriptor of this process.

    Raises `OSError` if it does not listen, or the kernel cannot be asked.
    """
    # TCP_INFO would be cheaper, but needs a socket object, and making one of a descriptor sets
    # O_NONBLOCK on a description that others share if the app has called socket.setdefaulttimeout()
    inode = os.fstat(fd).st_ino
    for family in FAMILIES:
        found = _dump_listeners(family).get(inode)
        if found is not None:
            return found
    msg = f"descriptor {fd} does not listen"
    raise OSError(msg)


def queue_depth(fds: Iterable[int]) -> Optional[int]:
    """Return how many connections wait in the queues of these listening descriptors together, None
    if that cannot be known.

    Costs one question to the kernel for each family that is among them, of some microseconds.
    """
    found = _queues(fds)
    return None if found is None else sum(each.depth for each in found)


def most_room(fds: Iterable[int]) -> Optional[int]:
    """Return for how many connections there is room in the longest queue of these listening
    descriptors, None if that cannot be known.
    """
    found = _queues(fds)
    return max(each.limit for each in found) if found else None


def _queues(fds: Iterable[int]) -> Optional[List[Listener]]:
    try:
        wanted = {os.fstat(fd).st_ino for fd in fds}
    except OSError:
        return None
    found: List[Listener] = []
    for family in FAMILIES:
        if not wanted:
            break
        known = _listeners(family)
        found += [known[inode] for inode in wanted & set(known)]
        wanted -= set(known)
    return None if wanted else found


def waiting(fds: Iterable[int]) -> Callable[[], bool]:
    """Return a function that returns whether a client waits in the queues of these listening
    descriptors, in less than a microsecond.
    """
    looked_at = SYSTEM.poll()
    for fd in fds:
        looked_at.register(fd, select.POLLIN)
    poll = looked_at.poll

    def look() -> bool:
        try:
            return poll(0) != []
        except RuntimeError:  # another thread is asking
            return True

    return look


def families(fds: Iterable[int]) -> Set[int]:
    """Return the families of these listening descriptors (`AF_UNIX`, `AF_INET`, `AF_INET6`); none
    if that of one cannot be known.
    """
    try:
        wanted = {os.fstat(fd).st_ino for fd in fds}
    except OSError:
        return set()
    found = {family: wanted & set(_listeners(family)) for family in FAMILIES}
    if wanted != set().union(*found.values()):
        return set()
    return {family for family in FAMILIES if found[family]}


def listening_descriptors() -> Tuple[int, ...]:
    """Return the listening descriptors of this process; none if they cannot be known."""
    known = listening_inodes()
    found: List[int] = []
    with contextlib.suppress(OSError):
        for fd in procfs.fds():
            with contextlib.suppress(OSError):
                if os.fstat(fd).st_ino in known:
                    found.append(fd)
    return tuple(found)


def listening_inodes() -> Set[int]:
    """Return the inodes of all listening sockets of this network namespace; none if they cannot be
    known.
    """
    return {inode for family in FAMILIES for inode in _listeners(family)}


def listeners() -> Dict[int, Listener]:
    """Return all listening sockets of this network namespace by inode.

    Raises `OSError` if the kernel does not tell.
    """
    found: Dict[int, Listener] = {}
    for family in FAMILIES:
        found.update(_dump_listeners(family))
    return found


def listeners_of(pid: int, known: Optional[Mapping[int, Listener]] = None) -> List[Listener]:
    """Return the queues of all listening sockets of a process, ordered by descriptor.

    `known` is what `listeners()` has returned, for callers that ask about many processes.
    Needs the right to read /proc/PID/fd (the same user, or root), and the same network namespace.
    Raises `ProcessLookupError`, `PermissionError`.
    """
    inodes = procfs.socket_inodes(pid)
    known = listeners() if known is None else known
    return [known[inode] for inode in dict.fromkeys(inodes) if inode in known]


def somaxconn() -> int:
    """Return this network namespace's limit for every listen queue, 0 if it is unknown."""
    text = procfs.read("/proc/sys/net/core/somaxconn").strip()
    return int(text) if text.isdigit() else 0


def unix_peers() -> Dict[int, int]:
    """Return the inode of the other end of each connected UNIX socket.

    Raises `OSError` where it cannot be asked for.
    """
    show = UDIAG_SHOW_PEER
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, show, 0xFFFFFFFF, 0xFFFFFFFF)
    peers = {}
    for body in _dump(request):
        inode = _UNIX_MESSAGE.unpack_from(body)[4]
        for kind, value in _attributes(body[_UNIX_MESSAGE.size :]):
            if kind == UNIX_DIAG_PEER:
                peers[inode] = int(struct.unpack("=I", value)[0])
    return peers


def connecting() -> Dict[int, str]:
    """Return where each TCP socket of this network namespace that is not connected yet connects to,
    by inode. `getpeername()` does not know it.

    Raises `OSError` where it cannot be asked for.
    """
    found = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        states = 1 << TCP_SYN_SENT
        for body in _dump(_INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, states, b"")):
            fields = _INET_MESSAGE.unpack_from(body)
            found[fields[15]] = _inet_name(family, fields[7], fields[5])
    return found


def _listeners(family: int) -> Dict[int, Listener]:
    try:
        return _dump_listeners(family)
    except (OSError, AttributeError):  # no such family here; no netlink at all
        return {}


def _dump_listeners(family: int) -> Dict[int, Listener]:
    """Return the listening sockets of a family by inode. Raises `OSError`."""
    if family == socket.AF_UNIX:
        show = UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN
        request = _UNIX_REQUEST.pack(family, 0, 0, 1 << TCP_LISTEN, 0, show, 0xFFFFFFFF, 0xFFFFFFFF)
        return dict(_unix(body) for body in _dump(request))
    request = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN, b"")
    return dict(_inet(family, body) for body in _dump(request))


def _dump(request: bytes) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        netlink.send(
            _HEADER.pack(_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
            + request
        )
        while True:
            data = netlink.recv(1 << 17)
            while data:
                length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(data)
                body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise OSError(code, "sock_diag refused")
                yield body


def _attributes(data: bytes) -> Iterator[Tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _unix(body: bytes) -> Tuple[int, Listener]:
    _family, _kind, _state, _pad, inode, _cookie0, _cookie1 = _UNIX_MESSAGE.unpack_from(body)
    name, depth, limit = "", 0, 0
    for kind, value in _attributes(body[_UNIX_MESSAGE.size :]):
        if kind == UNIX_DIAG_NAME:
            name = value.decode(errors="replace").rstrip("\0").replace("\0", "@")
        elif kind == UNIX_DIAG_RQLEN:
            depth, limit = _TWO.unpack(value)
    return inode, Listener(name, depth, limit)


def _inet(family: int, body: bytes) -> Tuple[int, Listener]:
    fields = _INET_MESSAGE.unpack_from(body)
    port, source, depth, limit, inode = fields[4], fields[6], fields[12], fields[13], fields[15]
    return inode, Listener(_inet_name(family, source, port), depth, limit)


def _inet_name(family: int, address: bytes, port: bytes) -> str:
    text = socket.inet_ntop(family, address[: 4 if family == socket.AF_INET else 16])
    host = text if family == socket.AF_INET else f"[{text}]"
    return f"{host}:{int.from_bytes(port, 'big')}"
