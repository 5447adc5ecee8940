"""What a descriptor is that a thread waits for: which socket, connected to whom, known to whom.

The C library is asked directly: a socket object of Python's for a descriptor of others' would set
O_NONBLOCK on the open file description that they share, after `socket.setdefaulttimeout()`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
from typing import Any, Dict, FrozenSet, NamedTuple, Optional, Set, Tuple

from . import procfs, sockets
from .waits_calls import epoll_targets, info_path, read

SO_PROTOCOL, SO_DOMAIN = 38, 39  # asm-generic/socket.h; Python has no names for them everywhere
IPPROTO_MPTCP = 262
EVENTFD, EPOLL = "anon_inode:[eventfd]", "anon_inode:[eventpoll]"
_LIBRARY = ctypes.PyDLL(None)  # these calls do not block: to give up the GIL would cost more
_ADDRESS_BYTES = 128  # struct sockaddr_storage
_INFO_BYTES = 1 << 16

# fmt: off
# what listens on a port by the custom of its project (or IANA), for messages only
SERVICES: Dict[int, str] = {
    **dict.fromkeys((20, 21, 989, 990), "ftp"),
    **dict.fromkeys((25, 465, 587, 1025, 2525), "smtp"),
    **dict.fromkeys((389, 636, 3268, 3269), "ldap"),
    **dict.fromkeys((110, 995), "pop3"),
    **dict.fromkeys((143, 993), "imap"),
    **dict.fromkeys((5671, 5672), "amqp"),
    **dict.fromkeys((7000, 9042), "cassandra"),
    **dict.fromkeys((9092, 9093, 9094), "kafka"),
    **dict.fromkeys((9200, 9300), "elasticsearch"),
    22: "ssh", 53: "dns", 80: "http", 88: "kerberos", 443: "https", 514: "syslog",
    1433: "mssql", 1521: "oracle", 2181: "zookeeper", 2379: "etcd", 3306: "mysql",
    4222: "nats", 5432: "postgres", 6033: "proxysql", 6379: "redis", 6380: "redis",
    6432: "pgbouncer", 8123: "clickhouse", 8500: "consul", 11211: "memcached",
    26257: "cockroachdb", 26379: "redis-sentinel", 27017: "mongodb", 33060: "mysql",
}
# fmt: on
_PATHS = (
    (".s.PGSQL.", "postgres"),
    ("mysql", "mysql"),
    ("mariadb", "mysql"),
    ("redis", "redis"),
    ("memcached", "memcached"),
    ("pgbouncer", "pgbouncer"),
    ("slapd", "ldap"),
    ("docker.sock", "docker"),
)


class Endpoint(NamedTuple):
    """A socket of this process: what it is, and whom it connects.

    Addresses are `host:port`, a path, `@name` (abstract), or "" for none.
    """

    family: int
    kind: int
    protocol: int
    local: str
    peer: str
    listens: bool

    @property
    def is_tcp(self) -> bool:
        """Whether it is a TCP connection (or one of Multipath TCP)."""
        inet = self.family in (socket.AF_INET, socket.AF_INET6)
        return (
            inet
            and self.kind == socket.SOCK_STREAM
            and self.protocol in (socket.IPPROTO_TCP, IPPROTO_MPTCP)
        )

    @property
    def is_unix_stream(self) -> bool:
        """Whether it is a UNIX stream socket."""
        return self.family == socket.AF_UNIX and self.kind == socket.SOCK_STREAM


class Inherited(NamedTuple):
    """What a process had open when it began: not its own, so never ended."""

    inodes: FrozenSet[int] = frozenset()
    listening: FrozenSet[str] = frozenset()  # local addresses


def snapshot() -> Inherited:
    """Return the sockets of this process and the addresses that it listens on.

    To be called once, when the worker begins. Raises `OSError` without /proc.
    """
    found = own_sockets(procfs.links())
    return Inherited(frozenset(found), listening_addresses(found))


def own_sockets(links: Dict[int, str]) -> Dict[int, int]:
    """Return the sockets among the descriptors of this process: a descriptor by inode."""
    return {inode: fd for fd, link in links.items() if (inode := socket_inode(link))}


def socket_inode(link: str) -> int:
    """Return the inode of a socket from its link in /proc/PID/fd; 0 if it is none."""
    return int(link[len("socket:[") : -1]) if link.startswith("socket:[") else 0


def listening_addresses(own: Dict[int, int]) -> FrozenSet[str]:
    """Return the local addresses of those of our sockets that listen."""
    found: Set[str] = set()
    for fd in own.values():
        endpoint = endpoint_of(fd)
        if endpoint is not None and endpoint.listens:
            found.add(endpoint.local)
    return frozenset(found)


def is_accepted(local: str, listening: FrozenSet[str]) -> bool:
    """Return whether a local address belongs to a connection that we have accepted."""
    if local in listening:
        return True
    _, _, port = local.rpartition(":")
    wildcards = (f"0.0.0.0:{port}", f"[::]:{port}")
    return any(each in listening for each in wildcards)


def endpoint_of(fd: int) -> Optional[Endpoint]:
    """Return what a socket of this process is; None if the descriptor is closed or no socket."""
    family = _option(fd, SO_DOMAIN)
    if family < 0:
        return None
    return Endpoint(
        family,
        _option(fd, socket.SO_TYPE),
        _option(fd, SO_PROTOCOL),
        _address(_LIBRARY.getsockname, fd),
        _address(_LIBRARY.getpeername, fd),
        _option(fd, socket.SO_ACCEPTCONN) == 1,
    )


def address_text(raw: bytes) -> str:
    """Return a `struct sockaddr` as text: `10.0.0.5:5432`, `[::1]:6379`, a path, `@name`, or ""."""
    if len(raw) < 3:  # the family alone: an unnamed UNIX socket
        return ""
    family = int.from_bytes(raw[:2], "little")
    port = int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET and len(raw) >= 8:
        return f"{socket.inet_ntop(family, raw[4:8])}:{port}"
    if family == socket.AF_INET6 and len(raw) >= 24:
        host = socket.inet_ntop(family, raw[8:24])
        mapped = host.startswith("::ffff:") and "." in host
        return f"{host[7:]}:{port}" if mapped else f"[{host}]:{port}"
    if family == socket.AF_UNIX:
        name = raw[2:]
        kept = b"@" + name[1:] if name[:1] == b"\0" else name.partition(b"\0")[0]
        return kept.decode(errors="backslashreplace")
    return ""


def service_of(peer: str) -> str:
    """Return what usually answers at an address (`postgres`, `redis`, ...); "" if nothing known."""
    if peer.startswith(("/", "@")):
        return next((name for part, name in _PATHS if part in peer), "")
    port = peer.rpartition(":")[2]
    return SERVICES.get(int(port), "") if port.isdigit() else ""


def is_log(peer: str) -> bool:
    """Return whether the peer of a UNIX socket is a log: the journal, syslog, or a collector."""
    return peer == "/dev/log" or any(
        word in peer.lower() for word in ("systemd/journal", "syslog", "fluent", "vector/log")
    )


def epolls(links: Dict[int, str]) -> Dict[int, Tuple[int, ...]]:
    """Return the inodes that each of our epolls watches, by the epoll's descriptor."""
    return {fd: watched_by(fd) for fd, link in links.items() if link == EPOLL}


def watched_by(fd: int) -> Tuple[int, ...]:
    """Return the inodes of the sockets that an epoll watches; none if it is closed by now."""
    try:
        targets = epoll_targets(read(info_path(fd), _INFO_BYTES))
    except OSError:
        return ()
    return tuple(each.inode or inode_of(each.fd) for each in targets)


def inode_of(fd: int) -> int:
    """Return the inode of a socket; 0 if the descriptor is closed or something else.

    Inodes of other file systems may have the same number.
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return 0
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else 0


def is_in_process(fd: int, link: str, links: Dict[int, str]) -> bool:
    """Return whether both ends are this process's own: an eventfd, a socketpair, a pipe to itself.

    With those threads of one process wake each other.
    """
    if link == EVENTFD:
        return True
    if link.startswith("pipe:["):
        return sum(each == link for each in links.values()) > 1
    endpoint = endpoint_of(fd) if link.startswith("socket:[") else None
    if endpoint is None or not endpoint.is_unix_stream or endpoint.peer or endpoint.local:
        return False
    try:
        peer = sockets.unix_peers().get(socket_inode(link), 0)
    except OSError:
        return False
    return f"socket:[{peer}]" in links.values()


def _option(fd: int, name: int) -> int:
    value, size = ctypes.c_int(-1), ctypes.c_uint32(4)
    failed = _LIBRARY.getsockopt(
        fd, socket.SOL_SOCKET, name, ctypes.byref(value), ctypes.byref(size)
    )
    return -1 if failed else value.value


def _address(function: Any, fd: int) -> str:
    raw, size = ctypes.create_string_buffer(_ADDRESS_BYTES), ctypes.c_uint32(_ADDRESS_BYTES)
    failed = function(fd, raw, ctypes.byref(size))
    return "" if failed else address_text(raw.raw[: min(size.value, _ADDRESS_BYTES)])
