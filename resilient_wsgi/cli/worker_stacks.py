"""Ask the workers of an instance for their stacks, all at the same time.

Each is asked over a socket of its own. Those in which no thread of Python answers are sent a signal
at which they write their stacks, into a file of their own, without Python's help.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import struct
import time
from contextlib import contextmanager, suppress
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ..errors import Unavailable
from ..host import procfs
from ..request import stack_dumps
from ..request.stacks_socket import socket_name
from ..shm.directory import Directory

PATIENCE = 2.0  # for a thread of Python, since the last worker has answered
MOST_SECONDS = 10.0  # for all of them
AT_ONCE = 400  # a process has 1024 descriptors as a rule
SIGNAL_PATIENCE = 3.0
# the dump at a signal is complete when it has not grown for this long: it has no end mark
QUIET = 0.1
MOST_BYTES = 1 << 20
COMMAND = 500  # characters of a command line
MOST_DUMPED = 4 << 20  # a file that long is not made longer: only its worker may empty it
_CREDENTIALS = struct.Struct("3i")


class Worker:
    """A process of the instance that may have a socket and a file for us in its directory.

    `answer` is what it has sent, `dump` what it has written at the signal; `complete` says whether
    that is all, `problem` why there is no answer, `refusal` why there is no dump, `signalled` which
    signal was sent.
    """

    def __init__(self, pid: int, directory: Directory, names: Sequence[str]) -> None:
        status = procfs.status(pid)
        self.pid = pid
        self.command = procfs.cmdline(pid)[:COMMAND] or status.get("Name", "")
        self.directory = directory
        self.inner_pid = int(status.get("NSpid", str(pid)).split()[-1])
        uids = status.get("Uid", "").split()
        self.uid = int(uids[1]) if uids else -1
        self.socket_name = socket_name(self.inner_pid)
        self.signal = stack_dumps.file_of(names, self.inner_pid)
        has_files = self.socket_name in names or self.signal is not None
        self.serves = has_files and self.uid == directory.owner
        self.answer = b""
        self.dump = b""
        self.complete = False
        self.problem = ""
        self.refusal = ""
        self.signalled = 0

    def __repr__(self) -> str:
        return f"<Worker {self.pid} {self.problem or f'{len(self.answer)} bytes'}>"

    def connect(self) -> Optional[socket.socket]:
        """Return a socket that its answer will come from; None, and `problem`, if there is none."""
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
        # what was examined is what is connected to: not a link that has taken its place meanwhile
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

    def take(self, connection: socket.socket) -> bool:
        """Take what has come; return whether there is more to come."""
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return True
        except OSError as error:
            self.problem = error.strerror or str(error)
            return False
        self.answer += data
        self.complete = not data
        return bool(data) and len(self.answer) < MOST_BYTES


def workers(pids: Sequence[int], directory: Directory) -> List[Worker]:
    """Return a `Worker` for each process, with what of the directory's names is its own."""
    names: Dict[int, List[str]] = {}
    for name in directory.names():
        pid = stack_dumps.pid_of(name)
        if pid is not None:
            names.setdefault(pid, []).append(name)
    inner = {pid: procfs.inner_pid(pid) for pid in pids} if names else {}
    return [Worker(pid, directory, names.get(inner.get(pid, pid), [])) for pid in pids]


def ask(asked: Sequence[Worker], patience: float = PATIENCE) -> None:
    """Ask all of them at the same time, and take what comes until they are done or none has
    answered for a while.
    """
    end = time.monotonic() + MOST_SECONDS
    for first in range(0, len(asked), AT_ONCE):
        _ask(asked[first : first + AT_ONCE], patience, end)


def _ask(asked: Sequence[Worker], patience: float, end: float) -> None:
    connections: Dict[int, Tuple[socket.socket, Worker]] = {}
    poll = select.poll()
    for worker in asked:
        connection = worker.connect()
        if connection is not None:
            connections[connection.fileno()] = connection, worker
            poll.register(connection.fileno(), select.POLLIN)
    until = time.monotonic() + patience
    while connections:
        left = min(until, end) - time.monotonic()
        if left <= 0:
            break
        for fd, _ in poll.poll(left * 1000):
            connection, worker = connections[fd]
            if not worker.take(connection):
                poll.unregister(fd)
                del connections[fd]
                connection.close()
                until = time.monotonic() + patience  # the machine is slow, not this one stuck
    for connection, _ in connections.values():
        connection.close()


def signal_silent(silent: Sequence[Worker], *, allowed: bool) -> None:
    """Have those that have not answered write their stacks at their signal, all at the same time.

    Without `allowed`, and where it could end or miss a process, only note why not.
    """
    for first in range(0, len(silent), AT_ONCE):
        dumps = [
            _Dump(worker) for worker in silent[first : first + AT_ONCE] if _may(worker, allowed)
        ]
        try:
            _await(list(filter(_Dump.start, dumps)))
        finally:
            for dump in dumps:
                dump.close()


def _may(worker: Worker, allowed: bool) -> bool:
    found = procfs.stat(worker.pid)
    state = found.state if found is not None else ""
    if state in ("T", "t", "Z", "X", ""):
        worker.refusal = f"the process is stopped or has ended (state {state})"
    elif worker.signal is None:
        worker.refusal = "it writes none at a signal (REQUEST.STACKS_SIGNAL)"
    elif not allowed:
        worker.refusal = "--no-signal"
    return not worker.refusal


class _Dump:
    """The file that a worker writes its stacks into at the signal, from where it ends now."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._fd = -1
        self._offset = self._size = 0
        self._grown = 0.0

    def start(self) -> bool:
        """Send the signal; return whether it was sent."""
        worker = self.worker
        name, signum = worker.signal  # type: ignore[misc]  # `_may` has seen to it
        try:
            self._fd = worker.directory.open(name, os.O_RDONLY)
        except (OSError, Unavailable) as error:  # gone by now, or not what it was made as
            worker.refusal = str(error)
            return False
        self._offset = self._size = os.fstat(self._fd).st_size
        if self._offset > MOST_DUMPED:
            worker.refusal = (
                f"{worker.directory.path}/{name} has {self._offset} bytes, "
                "and its worker has not emptied it"
            )
            return False
        worker.signalled = signum
        if not _send(worker, signum):
            worker.refusal = "it has ended, or handles the signal no more"
            return False
        return True

    def done(self) -> bool:
        """Return whether it has grown, and does not any more."""
        now = os.fstat(self._fd).st_size
        if now != self._size:
            self._size, self._grown = now, time.monotonic()
        return self._size != self._offset and time.monotonic() - self._grown > QUIET

    def read(self) -> None:
        """Take what was written."""
        size = min(MOST_BYTES, max(0, self._size - self._offset))
        self.worker.dump = os.pread(self._fd, size, self._offset)
        if not self.worker.dump:
            self.worker.refusal = f"no answer to the signal within {SIGNAL_PATIENCE:g} s"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _await(dumps: List[_Dump]) -> None:
    end = time.monotonic() + SIGNAL_PATIENCE
    waiting = dumps
    while waiting and time.monotonic() < end:
        time.sleep(0.01)
        waiting = [dump for dump in waiting if not dump.done()]
    for dump in dumps:
        dump.read()


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
