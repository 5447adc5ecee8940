"""Look a second time at a wait for a socket and end it, with nothing in between.

TCP is ended with `connect(AF_UNSPEC)` on the same socket: the kernel resets the connection, and a
thread that waits for it gets ECONNRESET or EPIPE. `shutdown()` would wake them, too, but with an
end of file, and code that reads until the end of file takes a cut body for a whole one; it is the
choice for UNIX sockets, and where the kernel refuses the reset (EBUSY while a thread is blocked in
the call, Linux 6.4, 6.5 and the stable kernels of that summer). After the reset a `shutdown()`
makes the socket look as a reset by the peer leaves it: poll says that it is readable, too, and what
comes after the error is the end of file; without it psycopg 3 does not see that the connection is
broken.

Four things keep an answer from arriving between the look and the end, and the connection from
going back to its pool broken:

- The steps are one C call: `all(map(call, steps))` runs C functions through `ctypes.PyDLL` without
  a bytecode in between, so the GIL is not given up, and no Python code of the waiting thread runs.
- A socket filter that drops all (`SO_ATTACH_FILTER`) holds off what the peer sends; if the wait is
  found to be over, the peer's kernel sends it again.
- Nothing unread may be there once the filter is. A thread whose answer has come, and that another
  processor is about to wake, still looks blocked: `/proc/self/task/TID/syscall` says so until then.
- The scheduler does not let the thread interrupt this one (`SCHED_BATCH`, for the moment).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import operator
import os
import socket
import struct
import sys
from functools import partial
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Tuple

from . import waits_calls
from .waits import Wait

ENDED, OVER, FAILED = "ended", "over", "failed"
RESET, SHUTDOWN = "reset", "shutdown"

_NO_ADDRESS = struct.pack("=H14x", 0)  # struct sockaddr with AF_UNSPEC
_SHUT_RDWR = 2
_SO_ATTACH_FILTER = _SO_GET_FILTER = 26
_SO_DETACH_FILTER = 27
_FIONREAD = 0x541B
_WRITES = ("write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile")
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)  # one instruction of classic BPF: return 0
_call = operator.methodcaller("__call__")
_whatever = (-2).__ne__  # no C function returns -2: true
# before CPython 3.12 an allocation can start a collection, and that runs finalizers in Python
_GC_IN_ALLOCATIONS = sys.version_info < (3, 12)
_ALLOCATIONS = 128  # more than the steps ever hold at a time

Step = Callable[[], object]
Result = Tuple[str, str]  # state, and how it was ended or why not


class Still(NamedTuple):
    """What must not have changed until the end: `getter(holder)` is (for numbers: equals) `value`.

    It is evaluated without giving up the GIL if the getter runs no Python code: an attribute in
    `__slots__` or an instance's dictionary, an item of a list, a dictionary or an array.
    """

    holder: object
    getter: Callable[[Any], object]
    value: object

    @classmethod
    def attribute(cls, holder: object, name: str, value: object) -> Still:
        """Return the condition that an attribute still has this value."""
        return cls(holder, operator.attrgetter(name), value)

    @classmethod
    def item(cls, holder: object, key: object, value: object) -> Still:
        """Return the condition that an item still has this value."""
        return cls(holder, operator.itemgetter(key), value)

    def step(self) -> Step:
        """Return the condition as a call that runs in C, and can be made once."""
        same = operator.eq if isinstance(self.value, int) else operator.is_
        return partial(all, map(same, map(self.getter, (self.holder,)), (self.value,)))


def why_not() -> str:
    """Return why this process cannot hold off what a peer sends while it ends a wait; "" if it can.

    Without that, an answer that arrives between the look and the end is lost, and the connection of
    a request that was served goes back to its pool broken (6 of 490 ends in a race made for it).
    """
    return _no_filter(os.geteuid())


@functools.cache
def _no_filter(_user: int) -> str:
    """Return why this user may attach no socket filter; a worker may be another than its master."""
    code = ctypes.create_string_buffer(_DROP_ALL)
    program = _Program(1, ctypes.cast(code, ctypes.c_void_p))
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
        except OSError as error:
            return f"the kernel lets this user attach no socket filter ({error.strerror})"
    return ""


class Chain:
    """The second look and the end, as steps that run in C without giving up the GIL."""

    def __init__(self) -> None:
        self._library = ctypes.PyDLL(None, use_errno=True)
        self._fstat = waits_calls.FSTAT[waits_calls.MACHINE]

    def end(self, wait: Wait, still: Still) -> Result:
        """End a wait if all is as it was seen. Raises `OSError` if thread or socket are gone."""
        is_tcp = wait.endpoint is not None and wait.endpoint.is_tcp
        with contextlib.ExitStack() as stack:
            duplicate = stack.enter_context(_open(lambda: os.dup(wait.fd)))
            look = list(self._line(wait, stack))
            hold, release = self._holding(duplicate) if is_tcp else ([], [])
            unread = self._nothing_unread(wait, duplicate) if is_tcp else []
            steps = [*self._looks(wait, duplicate, still, stack), *look, *hold, *unread, *look]
            ways = iter(self._ways(duplicate, is_tcp=is_tcp))
            stack.enter_context(_kept_waiting(wait.thread))
            ctypes.set_errno(0)
            _put_off_collection()
            ended = _run(steps, ways, release)
            left = operator.length_hint(ways)
            number = ctypes.get_errno()
        if ended:
            return ENDED, RESET if is_tcp and left else SHUTDOWN
        # if no way was tried, something was not as it was seen
        return (OVER, "") if left else (FAILED, os.strerror(number))

    def _looks(
        self, wait: Wait, duplicate: int, still: Still, stack: contextlib.ExitStack
    ) -> Iterator[Step]:
        """Yield the steps that check the request, the files, and the arguments of the call."""
        yield still.step()
        if _collects():
            yield _far_from_collection()
        yield from self._same_file(wait, duplicate)
        for address, content in wait.call.memory:
            yield from self._reads(stack, "/proc/self/mem", content, address)
        if wait.call.info:
            path = waits_calls.info_path(wait.call.arguments[0])
            yield from self._reads(stack, path, wait.call.info)

    def _line(self, wait: Wait, stack: contextlib.ExitStack) -> Iterator[Step]:
        """Yield the steps that check the system call.

        They are the last, because a thread in C goes on without the GIL: what it has received by
        then must not be taken for a wait. They may be taken more than once.
        """
        return self._reads(stack, waits_calls.path_of(wait.thread), wait.call.line)

    def _reads(
        self, stack: contextlib.ExitStack, path: str, expected: bytes, offset: int = 0
    ) -> Iterator[Step]:
        fd = stack.enter_context(_open(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        size = len(expected)
        # of a file of /proc one byte more, so that a longer text is another one
        buffer = ctypes.create_string_buffer(size + 1)
        pread = self._library["pread"]
        pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
        pread.restype = size.__eq__
        yield partial(pread, fd, buffer, size if offset else size + 1, offset)
        yield partial(self._compare(), buffer, expected, size)

    def _same_file(self, wait: Wait, duplicate: int) -> Iterator[Step]:
        """Yield the steps that check that both descriptors are the socket that was looked at."""
        expected = struct.pack("=QQ", wait.device, wait.inode)  # st_dev, st_ino: its first fields
        for fd in (wait.fd, duplicate):
            status = ctypes.create_string_buffer(256)
            fstat = self._library["syscall"]
            fstat.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
            fstat.restype = operator.not_
            yield partial(fstat, self._fstat, fd, status)
            yield partial(self._compare(), status, expected, len(expected))

    def _compare(self) -> Any:
        memcmp = self._library["memcmp"]
        memcmp.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        memcmp.restype = operator.not_
        return memcmp

    def _holding(self, duplicate: int) -> Tuple[List[Step], List[Step]]:
        """Return the steps that hold off what the peer sends, and those that let it in again.

        None where the app has a filter of its own.
        """
        size = ctypes.c_uint32(0)
        get = self._library["getsockopt"]
        level = socket.SOL_SOCKET
        if get(duplicate, level, _SO_GET_FILTER, None, ctypes.byref(size)) or size.value:
            return [], []
        attach, detach = self._library["setsockopt"], self._library["setsockopt"]
        attach.restype = detach.restype = _whatever
        program = _Program(1, ctypes.cast(ctypes.c_char_p(_DROP_ALL), ctypes.c_void_p))
        return (
            [
                partial(
                    attach,
                    duplicate,
                    level,
                    _SO_ATTACH_FILTER,
                    ctypes.byref(program),
                    ctypes.sizeof(program),
                )
            ],
            [
                partial(
                    detach, duplicate, level, _SO_DETACH_FILTER, ctypes.byref(ctypes.c_int(0)), 4
                )
            ],
        )

    def _nothing_unread(self, wait: Wait, duplicate: int) -> List[Step]:
        """Return the steps that are true if nothing of the peer's waits to be read, where it would
        end the wait.
        """
        if wait.connecting or wait.call.name in _WRITES:
            return []
        count, nothing = ctypes.c_int(0), bytes(ctypes.sizeof(ctypes.c_int))
        ask = self._library["ioctl"]
        ask.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
        ask.restype = operator.not_
        return [
            partial(ask, duplicate, _FIONREAD, ctypes.addressof(count)),
            partial(self._compare(), ctypes.addressof(count), nothing, len(nothing)),
            partial(operator.is_not, count, None),  # it is kept as long as the steps are
        ]

    def _ways(self, duplicate: int, *, is_tcp: bool) -> List[Step]:
        """Return the ways to end it, the better one first."""
        shutdown = self._library["shutdown"]
        shutdown.restype = operator.not_
        last = partial(shutdown, duplicate, _SHUT_RDWR)
        if not is_tcp:
            return [last]
        connect, finish = self._library["connect"], self._library["shutdown"]
        connect.restype, finish.restype = operator.not_, _whatever
        reset = partial(connect, duplicate, _NO_ADDRESS, len(_NO_ADDRESS))
        return [partial(all, map(_call, (reset, partial(finish, duplicate, _SHUT_RDWR)))), last]


class _Program(ctypes.Structure):
    """`struct sock_fprog`: a socket filter of classic BPF."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _run(steps: Iterable[Step], ways: Iterator[Step], release: Iterable[Step] = ()) -> bool:
    """Take all steps, then the first way that is successful, then the last steps, in one C call."""
    # all(steps) and any(ways): written so that no bytecode runs from the first step to the last
    end = partial(all, map(all, (map(_call, steps), map(any, (map(_call, ways),)))))
    ended, *_ = map(_call, (end, *release))
    return bool(ended)


def _collects() -> bool:
    """Return whether an allocation could start a collection, and with it code in Python."""
    return _GC_IN_ALLOCATIONS and gc.isenabled() and gc.get_threshold()[0] > 0


def _far_from_collection(allocations: int = _ALLOCATIONS) -> Step:
    """Return a step that is true unless a collection is about to begin; it runs no Python code."""
    limit = gc.get_threshold()[0] - allocations
    count = map(operator.itemgetter(0), map(_call, (gc.get_count,)))
    return partial(all, map(operator.lt, count, (limit,)))


def _put_off_collection() -> None:
    """Collect now, so that no allocation of the steps does."""
    # with room for what other threads allocate until then
    if _collects() and not _far_from_collection(3 * _ALLOCATIONS)():
        gc.collect(0)


@contextlib.contextmanager
def _kept_waiting(thread: int) -> Iterator[None]:
    """Keep a thread from taking our processor the moment it is woken.

    Without the GIL it could receive an answer between the look and the end, or see the socket
    between reset and shutdown. The scheduler lets no SCHED_BATCH thread interrupt another. It costs
    nothing else: the thread is asleep, and has its policy back some microseconds later. One with a
    policy of its own keeps it.
    """
    changed = False
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: a C library without it
        if os.sched_getscheduler(thread) == os.SCHED_OTHER:
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
            changed = True
    try:
        yield
    finally:
        if changed:
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(thread) == os.SCHED_BATCH:
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def _open(opened: Callable[[], int]) -> Iterator[int]:
    fd = opened()
    try:
        yield fd
    finally:
        os.close(fd)
