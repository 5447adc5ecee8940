"""Take over standard output and error, so that no write to them blocks for good, C code included.

uWSGI's own writes (request log, master, harakiri) are `writev` in C. So a pipe is reopened through
/proc, which makes an open file description of our own, and that replaces the inherited one. Flags
of a description that a shell or a supervisor shares are never changed, except with `share=True`.
The inherited description is kept for children. A socket cannot be reopened: a write to it gets a
timeout instead, if it is this unit's own connection to the journal.
"""

from __future__ import annotations

import contextlib
import errno
import os
from fcntl import F_GETFL, F_SETFL
from typing import Dict, Iterable, List, Optional, Tuple

from .. import servers
from ..core.record import Record
from ..core.system import SYSTEM, System
from ..errors import Unavailable
from ..events import DescriptorTakenOver, emit, publish
from ..events.traffic import TAKEOVERS, StreamKind, Takeover
from ..host import descriptors, procfs
from ..host.descriptors import PIPE, SOCKET, identity_of, kind_of
from ..servers.base import WORKER
from . import children

STANDARD = (1, 2)
# how long C code or a child waits for room in a socket, while the reader reads and while it is
# known to be stalled. O_NONBLOCK on the shared description would make children fail because of a
# reader that is only a little slow; SO_SNDTIMEO does not
SEND_SECONDS = 1.0
STALLED_SEND_SECONDS = 0.001
REOPENED: Takeover = "reopened"
SHARED: Takeover = "shared_flag"
TIMEOUT: Takeover = "send_timeout"
NON_BLOCKING: Takeover = "already_non_blocking"


class Taken(Record):
    """A descriptor that cannot block any more: its kind, and how that was achieved."""

    fd: int
    kind: str
    mechanism: Takeover

    def __str__(self) -> str:
        return f"descriptor {self.fd} ({self.kind}): {TAKEOVERS[self.mechanism]}"


_taken: Dict[int, Taken] = {}


def taken() -> Tuple[Taken, ...]:
    """Return what was taken over, here or in the process that this one was forked from."""
    return tuple(_taken.values())


def take_over(
    *, share: bool = False, log_fds: bool = False, system: System = SYSTEM
) -> Tuple[Taken, ...]:
    """Make standard output and error non-blocking if they are pipes; return all that is taken over.

    Other descriptors of the same pipes are included. Writes to a socket get a timeout instead, if
    it is this unit's own connection to systemd's journal. Call it before the first fork, and as the
    user who made the pipe: another user may not open it. Calling it again changes nothing. It
    cannot be undone, because children may have the descriptors. Children that are started through
    `subprocess` still get a descriptor that blocks, as they expect.

    `share` extends this to what other processes share: any socket gets the timeout, and a pipe that
    cannot be reopened (another user's) gets O_NONBLOCK on its shared description. `log_fds` extends
    it to other inherited pipes that are read elsewhere: uWSGI's log-master keeps the original
    standard error in one.

    Raises `Unavailable` with the reasons if there is a pipe or socket and none could be taken over.
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


def set_stalled(fd: int, stalled: bool) -> None:
    """Shorten the send timeout of a socket while its reader is known to be stalled."""
    with contextlib.suppress(OSError):
        descriptors.set_send_timeout(fd, STALLED_SEND_SECONDS if stalled else SEND_SECONDS)


def _take(fd: int, share: bool, system: System) -> None:
    if fd in _taken:
        return
    kind = kind_of(fd, system)
    first = _same_as(fd)
    if first is not None and kind == PIPE and is_ours(fd, system):
        return  # a duplicate of what was taken over, made since: the library has some of its own
    take = _take_socket if kind == SOCKET else _take_pipe
    _taken[fd] = Taken(fd, kind, take(fd, share, system))
    if first is None or fd in STANDARD:
        _report(_taken[fd])


def _same_as(fd: int) -> Optional[int]:
    """Return a descriptor of the same pipe or socket that was taken over, preferring 1 and 2."""
    for other in sorted(_taken):
        with contextlib.suppress(OSError):
            if os.path.sameopenfile(fd, other):
                return other
    return None


def _report(taken_over: Taken) -> None:
    fd = taken_over.fd
    what: StreamKind = "socket" if taken_over.kind == "socket" else "pipe"
    # uWSGI's log-master keeps the original in an inherited pipe
    event = DescriptorTakenOver(fd, what, taken_over.mechanism, fd not in STANDARD)
    (emit if reports_for_instance() else publish)(event)


def reports_for_instance() -> bool:
    """Return whether this process logs what is true of the whole instance.

    That is the master, or the first worker when it starts.
    """
    server = servers.known()
    return server is None or server.identity().role != WORKER or server.is_first_worker()


def _take_socket(fd: int, share: bool, system: System) -> Takeover:
    if system.fcntl(fd, F_GETFL) & os.O_NONBLOCK:  # uWSGI's log-master
        return NON_BLOCKING
    if descriptors.has_send_timeout(fd):
        return TIMEOUT  # uWSGI has re-executed itself: the reader may be known to be stalled
    if not (share or descriptors.is_journal(fd)):
        reason = "cannot be reopened, and is not this unit's own connection to the journal"
        raise OSError(errno.EOPNOTSUPP, reason)
    descriptors.set_send_timeout(fd, SEND_SECONDS)
    return TIMEOUT


def _take_pipe(fd: int, share: bool, system: System) -> Takeover:
    if is_ours(fd, system):  # uWSGI has re-executed itself: a reload
        children.reopen(fd, system)
        return REOPENED
    try:
        # for reading too: so the pipe has a reader as long as this process lives, and the death of
        # the real one is EAGAIN when the pipe is full. Otherwise it is EPIPE with a SIGPIPE, which
        # uWSGI's handler answers by writing to the same pipe (unbit/uwsgi #1786)
        private = system.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not share:
            raise OSError(error.errno, f"cannot be reopened: {error.strerror}") from None
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
    """Return whether a pipe was taken over, here or by the process that executed this one."""
    flags = system.fcntl(fd, F_GETFL)
    return bool(flags & os.O_NONBLOCK) and flags & os.O_ACCMODE == os.O_RDWR


def _candidates(log_fds: bool, system: System) -> Iterable[int]:
    """Yield the descriptors to take over: writable ones of the same pipe or socket as 1 or 2."""
    others = set(_open_descriptors()) - set(children.descriptors())
    found = {fd: file for fd in sorted(others) for file in [_inspect(fd, system)] if file}
    standard = {found[fd].inode for fd in STANDARD if fd in found}
    read_here = {file.inode for file in found.values() if file.mode == os.O_RDONLY}
    for fd, file in found.items():
        if file.mode == os.O_RDONLY or file.inode in read_here:
            continue
        if file.kind == SOCKET:
            if fd in STANDARD:
                yield fd
        elif file.inode in standard or (
            # Python's own pipes (to a child's standard input, say) are not inheritable; those that
            # uWSGI made with dup() are
            log_fds and file.mode == os.O_WRONLY and os.get_inheritable(fd)
        ):
            yield fd


class _File(Record):
    kind: str
    mode: int
    inode: Tuple[int, int]


def _inspect(fd: int, system: System) -> Optional[_File]:
    try:
        kind = kind_of(fd, system)
        mode = system.fcntl(fd, F_GETFL) & os.O_ACCMODE
        inode = identity_of(fd, system)
    except OSError as error:
        if error.errno == errno.EBADF:
            return None
        raise
    return _File(kind, mode, inode) if kind in (PIPE, SOCKET) else None


def _open_descriptors() -> List[int]:
    try:
        return procfs.fds()
    except OSError:
        return list(STANDARD)
