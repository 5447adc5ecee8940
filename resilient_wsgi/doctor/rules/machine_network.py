"""What this machine's kernel does with connections."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Location, Severity, at, rule
from ..subject import Subject

_INI = "[uwsgi]\nsocket = 127.0.0.1:3031\nlisten = 1024\n"
_TABLE = "net.netfilter.nf_conntrack_count = {used}\nnet.netfilter.nf_conntrack_max = 65536\n"
KERNEL = Location("")


def serves(subject: Subject) -> bool:
    """Return whether anything was looked at that listens on this machine."""
    return bool(subject.uwsgi or subject.gunicorn or subject.live)


@rule(
    "S02",
    Severity.WARNING,
    "the kernel resets connections when a queue is full",
    why=(
        "With `net.ipv4.tcp_abort_on_overflow = 1` a connection that finds the listen queue full "
        "is reset. Otherwise its client tries again after 1, 3 and 7 s, and a burst passes: a "
        "short overload becomes errors."
    ),
    bad={"uwsgi.ini": _INI, "machine": "net.ipv4.tcp_abort_on_overflow = 1\n"},
    good={"uwsgi.ini": _INI, "machine": "net.ipv4.tcp_abort_on_overflow = 0\n"},
    fix="Set net.ipv4.tcp_abort_on_overflow = 0.",
    sources=("Linux, Documentation/networking/ip-sysctl.rst",),
)
def aborts_on_overflow(subject: Subject) -> Iterator[Evidence]:
    """Find a kernel that resets connections, where a server of ours listens."""
    if serves(subject) and subject.machine.number("net.ipv4.tcp_abort_on_overflow") == 1:
        yield at(KERNEL, "net.ipv4.tcp_abort_on_overflow = 1")


@rule(
    "S15",
    Severity.WARNING,
    "the table of connections is nearly full",
    why=(
        "The firewall keeps an entry for each connection. When the table is full, the kernel drops "
        "packets of new connections (`nf_conntrack: table full, dropping packet`): connects hang, "
        "in both directions."
    ),
    bad={
        "uwsgi.ini": _INI,
        "machine": _TABLE.format(used=60000),
    },
    good={
        "uwsgi.ini": _INI,
        "machine": _TABLE.format(used=900),
    },
    fix="Raise net.netfilter.nf_conntrack_max, and keep connections to upstreams open.",
    sources=(
        "Linux, Documentation/networking/nf_conntrack-sysctl.rst",
        "uWSGI docs, Things to know",
    ),
)
def connections_nearly_full(subject: Subject) -> Iterator[Evidence]:
    """Compare the entries of the connection table with its room."""
    used = subject.machine.number("net.netfilter.nf_conntrack_count")
    room = subject.machine.number("net.netfilter.nf_conntrack_max")
    if serves(subject) and used is not None and room and used > 0.8 * room:
        yield at(KERNEL, f"nf_conntrack_count = {used}, nf_conntrack_max = {room}")
