"""Have no write to standard output and error block for good, by C code in this process and its
forks either.

A write of uWSGI's own (request log, master, harakiri) is `writev` in C. So a pipe is opened again
through /proc, which makes a description of our own, and that is put in the place of the inherited
one: flags of a description that a shell or a supervisor shares are never touched, unless asked for
with `share=True`. The inherited one is kept for children. A socket cannot be opened again: how long
a write to it may wait is bounded, where it is this unit's own connection to the journal.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from fcntl import F_GETFL, F_SETFL
from typing import Dict, Iterable, List, Optional, Tuple

from .. import servers
from ..core.system import SYSTEM, System
from ..errors import Unavailable
from ..events import DescriptorTakenOver, emit, publish
from ..events.types import TAKEOVERS, StreamKind, Takeover
from ..host import descriptors, procfs
from ..host.descriptors import kind_of
from ..servers.base import WORKER
from . import children

STANDARD = (1, 2)
REOPENED: Takeover = "reopened"
SHARED: Takeover = "shared_flag"
BOUNDED: Takeover = "send_timeout"
NON_BLOCKING: Takeover = "already_non_blocking"
# how long a write of C code or of a child may wait for room in a socket, while its reader reads, and
# while that is known to be stalled
SEND_SECONDS = 1.0
STALLED_SEND_SECONDS = 0.001


@dataclass(frozen=True)
class Taken:
    """A descriptor that can no longer block: its kind, and what was done to it."""

    fd: int
    kind: str
    means: Takeover

    def __str__(self) -> str:
        return f"descriptor {self.fd} ({self.kind}): {TAKEOVERS[self.means]}"


_taken: Dict[int, Taken] = {}


def taken() -> Tuple[Taken, ...]:
    """Return what was taken over, here or in the process that this one was forked from."""
    return tuple(_taken.values())


def take_over(
    *, share: bool = False, log_fds: bool = False, system: System = SYSTEM
) -> Tuple[Taken, ...]:
    """Make standard output and error non-blocking where they are pipes, and every other descriptor
    of the same pipes.

    Writes to a socket get a bound instead, if it is this unit's own connection to systemd's
    journal. Call it before the first fork, and as the user who made the pipe: another may not open
    it. Calling it again changes nothing. It cannot be undone, as children may have the descriptors.

    With `share`, what others share is changed, too: any socket gets that bound, and a pipe that
    cannot be opened again (another user's) gets O_NONBLOCK on the description that it has. With
    `log_fds`, also other inherited pipes whose reader is elsewhere: uWSGI's log-master keeps the
    original standard error so.

    Returns all that is taken over now. Raises `Unavailable` with the reasons if a pipe or socket is
    there and none could be. Children that are started through `subprocess` still get a descriptor
    that blocks, as they expect.
    """
    reasons: List[str] = []
    for fd in _candidates(log_fds, system):
        try:
            _take(fd, share, system)
        except OSError as error:  # noqa: PERF203
            reasons.append(f"descriptor {fd} ({kind_of(fd, system)}) {error.strerror}")
    if reasons and not _taken:
        raise Unavailable("; ".join(reasons))
    if _taken:
        children.install()
    return taken()


def _take(fd: int, share: bool, system: System) -> None:
    if fd in _taken:
        return
    what = kind_of(fd, system)
    first = _same_as(fd)
    if first is not None and what == "pipe" and is_ours(fd, system):
        return  # a duplicate of what was taken over, made since: the library has some of its own
    means = _bound(fd, share, system) if what == "socket" else _pipe(fd, share, system)
    _taken[fd] = Taken(fd, what, means)
    if first is None or fd in STANDARD:
        _report(_taken[fd])


def _same_as(fd: int) -> Optional[int]:
    """Return a descriptor of the same pipe or socket that was taken over, 1 or 2 before all others."""
    for other in sorted(_taken):
        with contextlib.suppress(OSError):
            if os.path.sameopenfile(fd, other):
                return other
    return None


def _report(taken_over: Taken) -> None:
    fd = taken_over.fd
    what: StreamKind = "socket" if taken_over.kind == "socket" else "pipe"
    # inherited: uWSGI's log-master keeps the original of standard error so
    event = DescriptorTakenOver(fd, what, taken_over.means, fd not in STANDARD)
    (emit if speaks() else publish)(event)


def speaks() -> bool:
    """Return whether this process logs what holds for all of its instance: the master, or the first
    worker at its start.
    """
    server = servers.known()
    return server is None or server.identity().role != WORKER or server.first_worker()


def _bound(fd: int, share: bool, system: System) -> Takeover:
    if system.fcntl(fd, F_GETFL) & os.O_NONBLOCK:  # uWSGI's log-master
        return NON_BLOCKING
    if descriptors.has_send_timeout(
        fd
    ):  # uWSGI has executed itself: the reader may be known to be stalled
        return BOUNDED
    if not (share or descriptors.is_journal(fd)):
        raise OSError(
            errno.EOPNOTSUPP,
            "cannot be opened again, and is not this unit's own connection to the journal",
        )
    bound_sends(fd)
    return BOUNDED


def bound_sends(fd: int, *, stalled: bool = False) -> None:
    """Bound how long a write to a socket may wait, by whoever shares it. Raises `OSError`.

    O_NONBLOCK would have children fail at a reader that is only a little slow; with a timeout, a
    write waits as ever, and fails only if the reader has made no room for so long.
    """
    descriptors.set_send_timeout(fd, STALLED_SEND_SECONDS if stalled else SEND_SECONDS)


def _pipe(fd: int, share: bool, system: System) -> Takeover:
    if is_ours(fd, system):  # uWSGI has executed itself: a reload
        children.reopen(fd, system)
        return REOPENED
    try:
        # for reading too: so the pipe has a reader as long as we live, and the real one's death is
        # EAGAIN when it is full, not EPIPE with a SIGPIPE, which uWSGI's handler answers by writing
        # to the same pipe (unbit/uwsgi #1786)
        private = system.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not share:
            raise OSError(error.errno, f"cannot be opened again: {error.strerror}") from None
        system.fcntl(fd, F_SETFL, system.fcntl(fd, F_GETFL) | os.O_NONBLOCK)
        children.reopen(fd, system)
        return SHARED
    try:
        children.keep(fd, system)
        system.dup2(private, fd, os.get_inheritable(fd))
    finally:
        system.close(private)
    return REOPENED


def is_ours(fd: int, system: System = SYSTEM) -> bool:
    """Return whether a descriptor is a pipe that was taken over, here or by a process before this
    one.
    """
    flags = system.fcntl(fd, F_GETFL)
    return bool(flags & os.O_NONBLOCK) and flags & os.O_ACCMODE == os.O_RDWR


def _candidates(log_fds: bool, system: System) -> Iterable[int]:
    """Return the descriptors to take over: those that this process writes to, of the same pipe or
    socket as 1 or 2.
    """
    others = set(_open_descriptors()) - set(children.descriptors())
    found = {fd: look for fd in sorted(others) for look in [_look(fd, system)] if look is not None}
    standard = {found[fd].inode for fd in STANDARD if fd in found}
    read_here = {look.inode for look in found.values() if look.mode == os.O_RDONLY}
    for fd, look in found.items():
        if look.mode == os.O_RDONLY or look.inode in read_here:
            continue
        if look.kind == "socket":
            if fd in STANDARD:
                yield fd
        elif look.inode in standard or (
            log_fds and look.mode == os.O_WRONLY and os.get_inheritable(fd)
        ):
            # Python's own pipes (to a child's standard input, say) are not inheritable, uWSGI's
            # dup() is
            yield fd


@dataclass(frozen=True)
class _Look:
    kind: str
    mode: int
    inode: Tuple[int, int]


def _look(fd: int, system: System) -> Optional[_Look]:
    try:
        what = kind_of(fd, system)
        status = system.fstat(fd)
        mode = system.fcntl(fd, F_GETFL) & os.O_ACCMODE
    except OSError as error:
        if error.errno == errno.EBADF:
            return None
        raise
    return _Look(what, mode, (status.st_dev, status.st_ino)) if what in ("pipe", "socket") else None


def _open_descriptors() -> List[int]:
    try:
        return procfs.fds()
    except OSError:
        return list(STANDARD)
