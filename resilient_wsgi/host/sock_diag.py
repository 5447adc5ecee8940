"""Ask the kernel for the listen queue of a socket by its inode, UNIX sockets included, through
netlink `sock_diag`.

Needs no privilege. Source of the layouts: linux/sock_diag.h, linux/inet_diag.h, linux/unix_diag.h.
It sees the sockets of this process's network namespace (for UNIX sockets as well).
"""

from __future__ import annotations

import socket
import struct
from typing import Dict, Iterator, NamedTuple, Tuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x1 | 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCP_LISTEN = 10
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


def listeners(family: int) -> Dict[int, Listener]:
    """Return the listening sockets of a family (`AF_UNIX`, `AF_INET`, `AF_INET6`) by inode.

    Raises `OSError` where the kernel offers no `sock_diag` for it.
    """
    if family == socket.AF_UNIX:
        show = UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN
        request = _UNIX_REQUEST.pack(family, 0, 0, 1 << TCP_LISTEN, 0, show, 0xFFFFFFFF, 0xFFFFFFFF)
        return dict(_unix(body) for body in _dump(request))
    request = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN, b"")
    return dict(_inet(family, body) for body in _dump(request))


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
    address = socket.inet_ntop(family, source[: 4 if family == socket.AF_INET else 16])
    host = address if family == socket.AF_INET else f"[{address}]"
    return inode, Listener(f"{host}:{int.from_bytes(port, 'big')}", depth, limit)
