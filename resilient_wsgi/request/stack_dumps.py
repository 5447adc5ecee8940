"""The stacks of all threads: rendered as text by Python, or at a signal by faulthandler, in C.

Text has function, file and line, and reads no source file, which might wait for a disk.

faulthandler needs neither the GIL nor a thread that is free. But it reads frames while their
threads may run, which may end a worker whose threads are busy (0.6 to 3 of 100 dumps of a process
that does nothing but compute, up to CPython 3.13): so `resilient-wsgi stacks` sends the signal only
where no thread of Python has answered. It writes to a file in the instance's private directory,
with the signal's number in its name. A pipe could block.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..core import app_entries, frames
from ..core.environ import method_and_path
from ..core.text import printable
from ..errors import Unavailable
from ..shm.directory import Directory
from ..shm.naming import file_name, file_numbers
from .running import RequestDeadline

FILE = "stacks"  # in the private directory: then the pid, and for a file the number of the signal
FRAMES = 40
TRIM_BYTES = 1 << 18
Requests = Sequence[Tuple[int, RequestDeadline]]


def report(requests: Requests, now: float, without: int = 0) -> str:
    """Return the running requests, a line each, and the stacks of all threads but one."""
    lines = [_line(request, now) for _, request in requests] or ["no request runs"]
    return "\n".join([*lines, "", render(working(requests, now), without)])


def working(requests: Requests, now: float) -> Dict[int, str]:
    """Return what each thread works on, by thread."""
    return {thread: _words(request, now) for thread, request in requests}


def render(requests: Mapping[int, str], without: int = 0) -> str:
    """Return the stacks of all threads but one, innermost call first; `requests` names what a
    thread works on.

    Threads that work on a request come first. Where looking is not safe, the text says why.
    """
    reason = frames.why_not()
    if reason:
        return f"(no stacks: {reason})"
    names = _names()
    found = {thread: frame for thread, frame in frames.frames().items() if thread != without}
    order = sorted(found, key=lambda thread: thread not in requests)
    return "\n".join(
        "\n".join(_thread(names.get(t) or _own(found[t]), found[t], requests.get(t))) for t in order
    )


def in_request(thread: int) -> bool:
    """Return whether a thread runs code that this library has called.

    It does not while the server sends the answer to a slow client, or if the response was never
    closed: no reason to replace a worker. Where looking is not safe the answer is False, and the
    worker stays.
    """
    return app_entries.inside(frames.frame_of(thread))


def _line(request: RequestDeadline, now: float) -> str:
    doing = request.doing()
    return _words(request, now) + (f", waiting for {printable(doing)}" if doing else "")


def _words(request: RequestDeadline, now: float) -> str:
    method, path = method_and_path(request.environ)
    return printable(f"{method} {path} for {now - request.start:.2f} s")


def _thread(name: str, frame: FrameType, request: Optional[str]) -> List[str]:
    return [f"thread {name!r}" + (f", in {printable(request)}" if request else ""), *_frames(frame)]


def _frames(frame: Optional[FrameType]) -> Iterator[str]:
    shown = 0
    while frame is not None and shown < FRAMES:
        code = frame.f_code
        yield f"  {printable(code.co_name)} ({printable(code.co_filename)}:{frame.f_lineno})"
        frame, shown = frame.f_back, shown + 1
    if frame is not None:
        yield "  ..."


def _own(frame: FrameType) -> str:
    """Return a name for a thread that `threading` does not know: this library's module that has
    started it, `?` for those of others.
    """
    outer: Optional[FrameType] = frame
    while outer is not None:
        frame, outer = outer, outer.f_back
    package, _, module = str(frame.f_globals.get("__name__")).partition(".")
    return f"{package} {module}" if module and package == __package__.partition(".")[0] else "?"


def _names() -> Dict[int, str]:
    # not threading.enumerate(): it takes a lock that a thread which the fork left behind may hold
    return {thread: known.name for thread, known in list(threading._active.items())}  # type: ignore[attr-defined]  # noqa: SLF001


def number(name: str) -> int:
    """Return the number of a real-time signal on this system.

    Raises `Unavailable` where there is none of that name.
    """
    first = getattr(signal, "SIGRTMIN", None)
    if first is None:
        msg = f"this system has no {name}"
        raise Unavailable(msg)
    value = int(first) + int(name.partition("+")[2] or 0)
    if value > signal.SIGRTMAX:
        msg = f"this system has no {name}: SIGRTMAX is SIGRTMIN+{signal.SIGRTMAX - first}"
        raise Unavailable(msg)
    return value


class OnSignal:
    """The handler of the signal in this process, and the file that it writes to."""

    def __init__(self, signum: int, directory: Directory) -> None:
        """Register the handler. Raises `Unavailable`, `OSError`."""
        self.signum = signum
        self._directory = directory
        self._name = file_name(FILE, os.getpid(), signum)
        # faulthandler appends: the file can be emptied without leaving a hole
        self.fd = directory.open(self._name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        reason = frames.dump_at_signal(signum, self.fd)
        if reason:
            self._remove()
            raise Unavailable(reason)

    def __repr__(self) -> str:
        return f"<OnSignal {self.signum} fd={self.fd}>"

    def trim(self) -> None:
        """Empty the file if it has become long: no other process does."""
        with contextlib.suppress(OSError):
            if os.fstat(self.fd).st_size > TRIM_BYTES:
                os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Remove handler and file."""
        frames.no_dump_at_signal(self.signum)
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._directory.unlink(self._name)
        with contextlib.suppress(OSError):
            os.close(self.fd)


def pid_of(name: str) -> Optional[int]:
    """Return the pid of the process whose socket or file has this name; None if it is neither."""
    numbers = file_numbers(name, FILE, 1) or file_numbers(name, FILE, 2)
    return numbers[0] if numbers else None


def file_of(names: Iterable[str], pid: int) -> Optional[Tuple[str, int]]:
    """Return the name of a process's file, out of those in its directory, and the number of its
    signal; None if it has none.
    """
    for name in names:
        numbers = file_numbers(name, FILE, 2)
        if numbers and numbers[0] == pid and signal.SIGRTMIN <= numbers[1] <= signal.SIGRTMAX:
            return name, numbers[1]
    return None
