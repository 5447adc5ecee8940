"""End a wait for a socket, whoever waits, in Python or in C.

TCP is ended with `connect(AF_UNSPEC)` on the same socket: the kernel resets the connection, and
whoever waits for it gets ECONNRESET or EPIPE. `shutdown()` would wake them, too, but with an end of
file, and code that reads until the end of file takes a cut body for a whole one; it is the choice
for UNIX sockets, and where the kernel refuses the reset (EBUSY while a thread is blocked in the
call, Linux 6.4, 6.5 and the stable kernels of that summer). After the reset a `shutdown()` makes
the socket look as a reset by the peer leaves it: poll says that it is readable, too, and what comes
after the error is the end of file; without it psycopg 3 does not see that the connection is broken.

The check and the end are one C call: `all(map(call, steps))` runs C functions through
`ctypes.PyDLL` without a bytecode in between, so the GIL is not given up, and no Python code of the
waiting thread can hand the connection to somebody else between the last look and the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import operator
import os
import struct
import sys
from functools import partial
from typing import Any, Callable, Dict, Hashable, Iterator, List, NamedTuple, Optional, Tuple

from . import waits_calls, waits_refusals
from .waits import Wait, polls
from .waits_refusals import Frames
from .waits_sockets import Inherited

ENDED, OVER, REFUSED, FAILED = "ended", "over", "refused", "failed"
RESET, SHUTDOWN = "reset", "shutdown"
MOST_ENDS = 32  # of one request's waits; at four ticks a second, eight seconds of reconnects
AGAIN = 3  # from this many ends on, the client is one that reconnects by itself

_NO_ADDRESS = struct.pack("=H14x", 0)  # struct sockaddr with AF_UNSPEC
_SHUT_RDWR = 2
_call = operator.methodcaller("__call__")
# before CPython 3.12 an allocation can start a collection, and that runs finalizers in Python
_GC_IN_ALLOCATIONS = sys.version_info < (3, 12)
_ALLOCATIONS = 128  # more than the steps ever hold at a time
_GC_TRIES = 3

Step = Callable[[], object]


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


class Outcome(NamedTuple):
    """What became of an attempt to end a wait.

    `state` is `ENDED`, `OVER` (it was over before), `REFUSED` (`reason` says why), `FAILED` (the
    kernel refused). `how` is `RESET` or `SHUTDOWN`. `ends` is how many waits of the request have
    been ended by now.
    """

    state: str
    wait: Wait
    how: str = ""
    reason: str = ""
    ends: int = 0

    @property
    def ended(self) -> bool:
        """Whether the wait was ended."""
        return self.state == ENDED

    @property
    def reconnects(self) -> bool:
        """Whether the client goes on by itself each time its connection is ended."""
        return self.ends >= AGAIN

    def __str__(self) -> str:
        if self.state == ENDED:
            return (
                f"ended the wait for {self.wait} ({self.how}, number {self.ends} of this request)"
            )
        if self.state == OVER:
            return f"the wait for {self.wait} was over"
        return f"the wait for {self.wait} was not ended: {self.reason}"


class Ends:
    """Ends waits of this process's threads, and counts them for each request.

    For one caller, the watchdog; make one in each process.
    """

    def __init__(self, inherited: Inherited, most: int = MOST_ENDS) -> None:
        self._inherited = inherited
        self._most = most
        self._counts: Dict[int, Tuple[Hashable, int]] = {}
        self._chain: Optional[_Chain] = None

    def __repr__(self) -> str:
        return f"<Ends {self.why_not() or 'sockets'}>"

    def why_not(self) -> str:
        """Return why no wait of this process may be ended, with the remedy; "" if they may."""
        return waits_refusals.of_process()

    def count(self, thread: int, request: Hashable) -> int:
        """Return how many waits of a request in a thread have been ended."""
        known, count = self._counts.get(thread, (None, 0))
        return count if known == request else 0

    def refusal(self, wait: Wait, frames: Frames, *, late: bool = False) -> str:
        """Return why a wait may not be ended, "" if it may: the same checks as of `end()`."""
        return (
            self.why_not()
            or waits_refusals.of_wait(wait, self._inherited)
            or waits_refusals.of_frames(list(frames()), late=late)
            or waits_refusals.of_sharing(wait)
        )

    def end(
        self, wait: Wait, request: Hashable, still: Still, frames: Frames, *, late: bool = False
    ) -> Outcome:
        """End a wait if it may be ended, and is still the same.

        `request` names the request for the count, `still` is the proof that the thread still serves
        it, `frames` returns module and function of the frames of that thread, and `late` allows to
        end the wait for a commit's answer, too. Raises nothing the kernel could be the cause of.
        """
        count = self.count(wait.thread, request)
        if count >= self._most:
            reason = (
                f"{count} waits of this request were ended, and its client reconnects each time"
            )
            return Outcome(REFUSED, wait, reason=reason, ends=count)
        try:
            reason = self.refusal(wait, frames, late=late)
            if reason:
                return Outcome(REFUSED, wait, reason=reason, ends=count)
            outcome = self._the_chain().end(wait, still)
        except OSError as error:  # a file of /proc that is gone: so is the thread
            return Outcome(OVER, wait, reason=str(error), ends=count)
        if outcome.ended:
            count += 1
            self._counts[wait.thread] = (request, count)
        return outcome._replace(ends=count)

    def forget(self, threads: List[int]) -> None:
        """Forget all but these threads."""
        self._counts = {tid: each for tid, each in self._counts.items() if tid in threads}

    def _the_chain(self) -> _Chain:
        if self._chain is None:
            self._chain = _Chain()
        return self._chain


class _Chain:
    """The second look and the end, as steps that run in C without giving up the GIL."""

    def __init__(self) -> None:
        self._library = ctypes.PyDLL(None, use_errno=True)
        self._fstat = waits_calls.FSTAT[waits_calls.MACHINE]

    def end(self, wait: Wait, still: Still) -> Outcome:
        """End a wait if all is as it was seen. Raises `OSError`."""
        with contextlib.ExitStack() as stack:
            duplicate = stack.enter_context(_open(lambda: os.dup(wait.fd)))
            steps = iter([*self._looks(wait, duplicate, still, stack)])
            ways = iter(self._ways(wait, duplicate))
            if polls(wait.call.name):
                stack.enter_context(_kept_waiting(wait.thread))
            ctypes.set_errno(0)
            _put_off_collection()
            if not _run(steps, ways):
                return self._not_ended(wait, tried=not operator.length_hint(ways))
            left = operator.length_hint(ways)
        how = RESET if wait.endpoint is not None and wait.endpoint.is_tcp and left else SHUTDOWN
        return Outcome(ENDED, wait, how=how)

    def _not_ended(self, wait: Wait, *, tried: bool) -> Outcome:
        if not tried:
            return Outcome(OVER, wait)
        return Outcome(FAILED, wait, reason=os.strerror(ctypes.get_errno()))

    def _looks(
        self, wait: Wait, duplicate: int, still: Still, stack: contextlib.ExitStack
    ) -> Iterator[Step]:
        """Yield the steps that check: the request, the files, the system call and its arguments.

        The line of the system call is the last: a thread in C goes on without the GIL, and what
        it has received by then must not be taken for a wait.
        """
        call = wait.call
        yield still.step()
        if _collects():
            yield _far_from_collection()
        yield from self._same_file(wait, duplicate)
        for address, content in call.memory:
            yield from self._reads(stack, "/proc/self/mem", content, address)
        if call.info:
            path = waits_calls.info_path(call.arguments[0])
            yield from self._reads(stack, path, call.info)
        yield from self._reads(stack, waits_calls.path_of(call.thread), call.line)

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

    def _ways(self, wait: Wait, duplicate: int) -> List[Step]:
        """Return the ways to end it, the better one first."""
        shutdown = self._library["shutdown"]
        shutdown.restype = operator.not_
        last = partial(shutdown, duplicate, _SHUT_RDWR)
        if wait.endpoint is None or not wait.endpoint.is_tcp:
            return [last]
        connect, finish = self._library["connect"], self._library["shutdown"]
        connect.restype, finish.restype = operator.not_, (-2).__ne__  # true, whatever comes of it
        reset = partial(connect, duplicate, _NO_ADDRESS, len(_NO_ADDRESS))
        return [
            partial(all, map(_call, (reset, partial(finish, duplicate, _SHUT_RDWR)))),
            last,
        ]


def _run(steps: Iterator[Step], ways: Iterator[Step]) -> bool:
    """Take all steps, then the first way that is successful, in one C call."""
    # all(a, any(b)): written so that no bytecode runs between the last step and the first way
    return all(map(all, (map(_call, steps), map(any, (map(_call, ways),)))))


def _collects() -> bool:
    """Return whether an allocation could start a collection, and with it code in Python."""
    return _GC_IN_ALLOCATIONS and gc.isenabled() and gc.get_threshold()[0] > 0


def _far_from_collection() -> Step:
    """Return a step that is true unless a collection is about to begin; it runs no Python code."""
    limit = gc.get_threshold()[0] - _ALLOCATIONS
    count = map(operator.itemgetter(0), map(_call, (gc.get_count,)))
    return partial(all, map(operator.lt, count, (limit,)))


def _put_off_collection() -> None:
    """Collect now, so that no allocation of the steps does."""
    for _ in range(_GC_TRIES):
        if not _collects() or _far_from_collection()():
            return
        gc.collect(0)


@contextlib.contextmanager
def _kept_waiting(thread: int) -> Iterator[None]:
    """Keep a thread from taking our processor the moment it is woken, between reset and shutdown.

    The scheduler lets no SCHED_BATCH thread do that. It costs nothing else: the thread is asleep,
    and has its policy back some microseconds later. One that has a policy of its own keeps it.
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
