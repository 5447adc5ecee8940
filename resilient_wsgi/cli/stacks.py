"""Print the stacks of all threads of each worker of a running instance, with the requests that run
in it.

Each worker is asked over a socket of its own, where a thread of Python answers, also when all
others are blocked in a write or wait for an upstream. A worker that has not answered after 2 s,
because C code holds the GIL, say, is sent a signal (REQUEST.STACKS_SIGNAL) at which it writes its
stacks without Python's help. That may end a worker whose threads are busy: --no-signal leaves it
alone. Only reads what it has verified to belong to the worker's user, as root, too.

Exit code 0 if every worker has answered, 1 if one has not, 2 if it cannot be looked at.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import stat
import struct
import time
from contextlib import contextmanager, suppress
from typing import Callable, Dict, Iterator, List, NoReturn, Optional

from ..errors import Unavailable
from ..host import procfs
from ..request import on_signal
from ..request.answering import socket_name
from ..request.records import regions
from ..request.shared import View, view
from ..shm import instance
from ..shm.directory import Directory
from . import absence, target
from .output import say

PATIENCE = 2.0  # for a thread of Python
SIGNAL_PATIENCE = 3.0
# the dump at a signal is complete when it has not grown for this long: it has no end mark
QUIET = 0.1
MOST_BYTES = 1 << 20
MOST_DUMPED = 4 << 20  # a file that long is not made longer: nobody but its worker may empty it
LINE = 500
_CREDENTIALS = struct.Struct("3i")


class Worker:
    """A process of the instance that has something for us in its directory."""

    def __init__(self, pid: int, directory: Directory, names: List[str]) -> None:
        self.pid = pid
        self.directory = directory
        self.inner_pid = procfs.inner_pid(pid)
        self.socket_name = socket_name(self.inner_pid)
        self.signal = on_signal.named(names, self.inner_pid)
        self.answer = b""
        self.complete = False
        self.problem = ""
        self.present = self.socket_name in names or self.signal is not None

    def connect(self) -> Optional[socket.socket]:
        """Return a socket that its answer will come from; None, and `problem`, where there is none."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            self._connect(connection)
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if _CREDENTIALS.unpack(peer)[0] != self.pid:
                msg = "its socket is another process's"
                raise PermissionError(msg)
        except OSError as error:
            self.problem = error.strerror or str(error)
            connection.close()
            return None
        return connection

    def _connect(self, connection: socket.socket) -> None:
        # what was looked at is what is connected to: not a link that has taken its place meanwhile
        fd = os.open(
            self.socket_name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory.fd
        )
        try:
            about = os.fstat(fd)
            if not stat.S_ISSOCK(about.st_mode) or about.st_uid != self.directory.owner:
                msg = "its socket is no socket of its user"
                raise PermissionError(msg)
            connection.connect(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `stacks` takes."""
    target.add_target(parser)
    parser.add_argument(
        "--no-signal",
        action="store_true",
        help="do not signal a worker in which no thread of Python answers",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the stacks; return 1 if a worker has given none."""
    pid = (
        int(arguments.pid) if arguments.pid is not None else target.read_pidfile(arguments.pidfile)
    )
    # what a process that has changed its user has open only root may see, its directory its user,
    # too
    try:
        directory = instance.find(pid)
    except Unavailable:
        none(pid)
    names = directory.names()
    # not those that `status` shows: of a process that has changed its user its own user may not see
    # what program it is
    family = [Worker(each, directory, names) for each in [pid, *procfs.children(pid)]]
    workers = [each for each in family if each.present and procfs.uid(each.pid) == directory.owner]
    if not workers:
        none(pid)
    ask(workers)
    shared = _shared(pid)
    answered = [_show(worker, shared, signals=not arguments.no_signal) for worker in workers]
    for other in family[1:]:
        if other not in workers:
            say(f"--- {other.pid} {_command(other.pid)}: no worker, or one that does not serve yet")
    return 0 if all(answered) else 1


def none(pid: int) -> NoReturn:
    """Raise `CannotLook` that says why no worker answers."""
    msg = f"no worker of process {pid}{target.name_of(pid)} answers for its stacks: {absence.of_stacks(pid)}"
    raise target.CannotLook(msg)


def ask(workers: List[Worker], patience: float = PATIENCE) -> None:
    """Ask all of them at the same time, and take what comes until they are done or the time is up."""
    connections: Dict[int, socket.socket] = {}
    asked: Dict[int, Worker] = {}
    poll = select.poll()
    for worker in workers:
        connection = worker.connect()
        if connection is not None:
            connections[connection.fileno()] = connection
            asked[connection.fileno()] = worker
            poll.register(connection.fileno(), select.POLLIN)
    end = time.monotonic() + patience
    while asked and time.monotonic() < end:
        for fd, _ in poll.poll(max(0.0, end - time.monotonic()) * 1000):
            if not _take(connections[fd], asked[fd]):
                poll.unregister(fd)
                del asked[fd]
    for connection in connections.values():
        connection.close()


def _take(connection: socket.socket, worker: Worker) -> bool:
    """Take what has come; return whether there is more to come."""
    try:
        data = connection.recv(65536)
    except BlockingIOError:
        return True
    except OSError as error:
        worker.problem = error.strerror or str(error)
        return False
    worker.answer += data
    worker.complete = not data
    return bool(data) and len(worker.answer) < MOST_BYTES


def _show(worker: Worker, shared: Optional[View], *, signals: bool) -> bool:
    """Print what a worker has answered, or have it write its stacks at the signal; return whether
    there are any.
    """
    say(f"=== {worker.pid} {_command(worker.pid)}")
    text = worker.answer.decode(errors="replace")
    if text:
        say(*_lines(text), *([""] if worker.complete else ["... (cut)", ""]))
        return True
    for line in _requests(worker.pid, shared):
        say(line)
    text = _by_signal(worker, signals=signals)
    say(*_lines(text), "")
    return bool(text)


def _lines(text: str) -> List[str]:
    return [line[:LINE] for line in text.rstrip().split("\n")]


def _by_signal(worker: Worker, *, signals: bool) -> str:
    why = worker.problem or f"within {PATIENCE:g} s"
    say(f"no Python thread answered: {why}")
    refusal = _refusal(worker, signals=signals)
    if refusal or worker.signal is None:
        say(f"no stacks: {refusal}")
        return ""
    name, signum = worker.signal
    fd = worker.directory.open(name, os.O_RDONLY)
    try:
        offset = os.fstat(fd).st_size
        if offset > MOST_DUMPED:
            say(
                f"no stacks: {worker.directory.path}/{name} has {offset} bytes, and its worker has not emptied it"
            )
            return ""
        say(
            f"sending signal {signum}, at which it writes its stacks; this may end it if it is busy"
        )
        if not _send(worker, signum):
            say("no stacks: it has ended, or handles the signal no more")
            return ""
        return _read_dump(fd, offset)
    finally:
        os.close(fd)


def _refusal(worker: Worker, *, signals: bool) -> str:
    about = procfs.stat(worker.pid)
    state = "" if about is None else about.state
    if state in ("T", "t", "Z", "X", ""):
        return f"the process is stopped or has ended (state {state})"
    if worker.signal is None:
        return "it writes none at a signal (REQUEST.STACKS_SIGNAL)"
    return "" if signals else "--no-signal"


def _send(worker: Worker, signum: int) -> bool:
    """Send the signal to this very process, if it has a handler: it would be its end without."""
    with suppress(ProcessLookupError), _process(worker.pid) as send:
        same = (
            procfs.uid(worker.pid) == worker.directory.owner
            and procfs.inner_pid(worker.pid) == worker.inner_pid
        )
        if same and procfs.handles_signal(worker.pid, signum):
            send(signum)
            return True
    return False


@contextmanager
def _process(pid: int) -> Iterator[Callable[[int], None]]:
    """Yield what sends a signal to a process: a pid may be used again between the look and the
    signal, a pidfd may not.
    """
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):  # Linux before 5.3
        yield lambda signum: os.kill(pid, signum)
        return
    try:
        yield lambda signum: signal.pidfd_send_signal(fd, signum)
    finally:
        os.close(fd)


def _read_dump(fd: int, offset: int) -> str:
    end = time.monotonic() + SIGNAL_PATIENCE
    size, grown = offset, 0.0
    while time.monotonic() < end:
        now = os.fstat(fd).st_size
        if now != size:
            size, grown = now, time.monotonic()
        elif size != offset and time.monotonic() - grown > QUIET:
            break
        time.sleep(0.01)
    else:
        if size == offset:
            say(f"no answer to the signal within {SIGNAL_PATIENCE:g} s")
    return os.pread(fd, min(MOST_BYTES, max(0, size - offset)), offset).decode(errors="replace")


def _requests(pid: int, shared: Optional[View]) -> Iterator[str]:
    mine = (
        [region for region in regions(shared) if region.owner[0] == procfs.inner_pid(pid)]
        if shared is not None
        else []
    )
    if not mine:
        return
    now = time.monotonic()
    found = sorted(mine[0].requests(), key=lambda request: request.begun)
    for request in found:
        doing = f", waiting for {request.doing}" if request.doing else ""
        yield f"{request.what} for {now - request.begun:.2f} s{doing}"
    if not found:
        yield "no request runs"


def _shared(pid: int) -> Optional[View]:
    with suppress(OSError, Unavailable):
        return view(pid)
    return None


def _command(pid: int) -> str:
    return procfs.cmdline(pid)[:LINE] or procfs.name(pid)
