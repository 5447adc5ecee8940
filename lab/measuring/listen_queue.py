"""The true depth of a listen queue, seen from outside; the lab's own reading, independent of the
library that it judges.

TCP: the receive queue of a listening socket in /proc/PID/net/tcp is its backlog. UNIX sockets:
netlink (sock_diag(7), UNIX_DIAG_RQLEN), since /proc/net/unix does not say.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import NamedTuple

LISTEN = "0A"
CLOSE_WAIT = "08"
UNDER_WAY = ("01", "02")  # ESTABLISHED, SYN_SENT

SOCK_DIAG_BY_FAMILY = 20
NETLINK_SOCK_DIAG = 4
NLM_F_REQUEST_DUMP = 0x301
NLMSG_DONE = 3
NLMSG_ERROR = 2
UDIAG_SHOW_NAME = 0x01
UDIAG_SHOW_RQLEN = 0x10
UNIX_DIAG_NAME = 0
UNIX_DIAG_RQLEN = 4
TCP_LISTEN = 10


class Depth(NamedTuple):
    """How many connections wait, and how many may (None where the kernel does not say)."""

    waiting: int
    limit: int | None


def tcp_depth(port: int, pid: int | str = "thread-self") -> int:
    """Return how many connections wait to be accepted on this port, in the network namespace of the
    process.
    """
    return sum(
        queue for local, state, queue in _tcp_table(pid) if state == LISTEN and local == port
    )


def close_wait_count(port: int, pid: int | str = "thread-self") -> int:
    """Return how many connections to this port were closed by their client and not by the server."""
    return sum(state == CLOSE_WAIT and local == port for local, state, _ in _tcp_table(pid))


def connections_to(port: int) -> int:
    """Return how many connections to this port are there, or begin, on the side of their clients."""
    rows = (line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:])
    return sum(
        fields[3] in UNDER_WAY and int(fields[2].rsplit(":", 1)[1], 16) == port for fields in rows
    )


def _tcp_table(pid: int | str) -> list[tuple[int, str, int]]:
    rows = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        rows.append(
            (int(fields[1].rsplit(":", 1)[1], 16), fields[3], int(fields[4].split(":")[1], 16))
        )
    return rows


def unix_depth(path: str) -> Depth:
    """Return depth and limit of the UNIX socket that listens on this path, in this thread's network
    namespace.
    """
    # struct unix_diag_req: family, protocol, pad, states (a bit for each), inode, show, cookie
    request = struct.pack(
        "=BBHIIIII",
        socket.AF_UNIX,
        0,
        0,
        1 << TCP_LISTEN,
        0,
        UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN,
        0,
        0,
    )
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        netlink.send(header + request)
        while True:
            data = netlink.recv(1 << 16)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return Depth(0, None)
                # struct unix_diag_msg is 16 bytes behind the header of 16; attributes follow
                attributes = _attributes(data[32:size])
                if attributes.get(UNIX_DIAG_NAME, b"").rstrip(b"\0") == path.encode():
                    return Depth(*struct.unpack("=II", attributes[UNIX_DIAG_RQLEN]))
                data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found
