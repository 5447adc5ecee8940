"""The operating system, as one small object: tests inject another one instead of patching `os` and
`time`.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import functools
import mmap
import os
import select
import time
from types import BuiltinFunctionType
from typing import (
    Any,
    Callable,
    Dict,
    Generic,
    MutableSequence,
    NoReturn,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    cast,
)

SPLICE_F_NONBLOCK = 0x2
MADV_WIPEONFORK = 18  # Linux 4.14

T = TypeVar("T")


def _not_there(*_arguments: Any) -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _monotonic() -> Callable[[], float]:
    """Return the real clock, also where a test has replaced `time.monotonic` before the library was
    imported.
    """
    if isinstance(time.monotonic, BuiltinFunctionType):
        return time.monotonic
    return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)


class System:
    """What the library asks of the operating system.

    A subclass overrides what a test wants to be different.
    """

    # freezegun replaces what modules have of `time`, not what classes have: asked as
    # SYSTEM.monotonic(), the clock is the real one in a test with frozen time, too
    monotonic = staticmethod(_monotonic())
    wall_time = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    # of the same make as `sleep`: all are gevent's if it has patched them before this was imported,
    # or none. A thread that was started before must not wait in gevent's way (see core.bell)
    start_thread: Callable[..., int] = staticmethod(_thread.start_new_thread)
    allocate_lock: Callable[[], _thread.LockType] = staticmethod(_thread.allocate_lock)
    poll: Callable[[], select.poll] = staticmethod(select.poll)
    getpid = staticmethod(os.getpid)
    exit = staticmethod(os._exit)

    # On descriptors. What this platform has not raises `OSError` with ENOSYS.
    close = staticmethod(os.close)
    dup = staticmethod(os.dup)
    dup2 = staticmethod(os.dup2)
    ioctl: Callable[..., Any] = staticmethod(fcntl.ioctl)
    fcntl = staticmethod(fcntl.fcntl)
    fstat = staticmethod(os.fstat)
    isatty = staticmethod(os.isatty)
    open = staticmethod(os.open)
    pwritev: Callable[[int, Sequence[bytes], int, int], int] = staticmethod(
        getattr(os, "pwritev", _not_there)
    )
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    wipes_on_fork = True  # whether to try MADV_WIPEONFORK

    def splice(self, source: int, target: int, size: int) -> int:
        """Move bytes from a pipe to a descriptor without waiting. Python has it since 3.10."""
        if not hasattr(os, "splice"):
            _not_there()
        return os.splice(source, target, size, flags=SPLICE_F_NONBLOCK)

    def pipe(self) -> Tuple[int, int]:
        """Return the read and write ends of a new pipe, non-blocking and not inherited."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        return read, write

    def writable(self, fd: int, seconds: float) -> bool:
        """Wait at most so long until there is room; return whether there is.

        A broken descriptor counts as room.
        """
        poll = self.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))


SYSTEM = System()


class _ByPid:
    """Fallback for kernels without MADV_WIPEONFORK: compares pids, which takes 0.05 to 0.25
    microseconds a time; reading a byte of memory takes 0.03.
    """

    def __init__(self, system: System) -> None:
        self._getpid = system.getpid
        self._pid = 0

    def __getitem__(self, _place: int) -> bool:
        return self._pid == self._getpid()

    def __setitem__(self, _place: int, _value: int) -> None:
        self._pid = self._getpid()


def fork_mark(system: System = SYSTEM) -> MutableSequence[int]:
    """Return a sequence whose item 0 is false in each new process until it is set there.

    Reading it makes no system call, and it notices every fork: uWSGI forks without running
    Python's fork callbacks.
    """
    if system.wipes_on_fork and system.getpid is os.getpid:
        try:
            page = mmap.mmap(-1, 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            page.madvise(MADV_WIPEONFORK)  # the child finds zeros
        except (OSError, ValueError, AttributeError):
            pass
        else:
            return cast("MutableSequence[int]", page)
    return cast("MutableSequence[int]", _ByPid(system))


class Process:
    """Distinguishes this process from the one that it was forked from, however it was forked."""

    def __init__(self, system: System = SYSTEM) -> None:
        self._getpid = system.getpid
        self._known = fork_mark(system)
        self._tokens: Dict[int, object] = {}
        self._token = self._begin()

    def token(self) -> object:
        """Return an object that only this process has: the same in each call, another after each
        fork.
        """
        return self._token if self._known[0] else self._begin()

    def _begin(self) -> object:
        # two threads may find out at the same time that the process is new: the first one's counts
        pid = self._getpid()
        self._token = token = self._tokens.setdefault(pid, object())
        self._tokens = {pid: token}
        self._known[0] = 1
        return token


PROCESS = Process()


def this_process() -> object:
    """Return an object that only this process has; in a child, what it marks is the parent's.

    Where a value is to be made again in each process, use `PerProcess`.
    """
    return PROCESS.token()


def process_of(system: System) -> Process:
    """Return what distinguishes processes for a system: one object for the real one."""
    return PROCESS if system is SYSTEM else Process(system)


_MISSING = object()


class PerProcess(Generic[T]):
    """A value that belongs to one process: the first to ask after a fork, uWSGI's included, makes
    a new one.

    There is no lock, which a fork could leave held in the child. Two threads that ask at the same
    time may both call `make`; both get the value that was stored first.
    """

    __slots__ = ("_make", "_process", "_values")

    def __init__(self, make: Callable[[], T], process: Process = PROCESS) -> None:
        self._make = make
        self._process = process
        self._values: Dict[object, T] = {}

    def __repr__(self) -> str:
        return f"<PerProcess {self.peek()!r}>"

    def get(self) -> T:
        """Return the value of this process, made now if it has none yet."""
        process = self._process
        # `Process.token`, inlined: log lines come through here, and the call is half of the time
        token = process._token if process._known[0] else process.token()  # noqa: SLF001
        value: Any = self._values.get(token, _MISSING)
        return self._keep(token, self._make()) if value is _MISSING else value

    def peek(self) -> Optional[T]:
        """Return the value of this process, None if it has none yet."""
        return self._values.get(self._process.token())

    def set(self, value: T) -> None:
        """Give this process another value."""
        self._values = {self._process.token(): value}

    def clear(self) -> None:
        """Have the next to ask make a new value."""
        self._values = {}

    def _keep(self, token: object, made: T) -> T:
        value = self._values.setdefault(token, made)
        self._values = {token: value}  # what the parent had is the parent's
        return value
