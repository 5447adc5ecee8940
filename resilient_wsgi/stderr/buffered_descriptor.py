"""A descriptor with the lines that wait for room on it, and the method of writing to it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Callable, Iterator, Optional, Tuple

from ..core.system import SYSTEM, PerProcess, Process, System, fork_mark
from ..events import LinesDropped, publish
from ..host.descriptors import identity_of
from .buffer import NEWEST, NOTHING, Buffer, Dropped
from .capacity import Capacity
from .wait_policy import WaitPolicy
from .write_methods import REJECTED, AlreadyNonBlocking, WriteMethod, methods_for

if TYPE_CHECKING:
    from .writer import Writer

# seconds without a system call after the descriptor was found full and its reader stalled, and
# after it was found broken (reader gone, disk full)
GATE_SECONDS = 0.05
BROKEN_GATE_SECONDS = 1.0
# for this long after the last time that there was no room, some is reserved for C code
CROWDED_SECONDS = 5.0
# how much one caller writes on behalf of others: 64 pieces of 4 KiB take about 0.1 ms
DRAIN_PIECES = 64
ROUNDS = 16
DEFAULT_BUFFER_BYTES = 256 * 1024


class ProcessState:
    """What of a writer belongs to one process: a fork begins with an empty buffer."""

    __slots__ = ("arrivals", "buffer", "crowded_until", "direct", "gate", "policy")

    def __init__(self, buffer: Buffer, policy: WaitPolicy) -> None:
        self.buffer = buffer
        self.arrivals = buffer.arrivals
        self.policy = policy
        self.gate = 0.0  # no attempt to write before then
        self.crowded_until = 0.0
        # lines may be sent although the writer is busy, each after a check of the capacity
        self.direct = False


class BufferedDescriptor:
    """Writes buffered lines in order, as far as there is room, by the best method that works.

    The part of `Writer` that knows the kernel. Before the lines that were kept goes one line that
    reports how many were dropped.
    """

    __slots__ = (
        "_buffer_bytes",
        "_capacity",
        "_getpid",
        "_identity",
        "_keep",
        "_make_policy",
        "_method",
        "_methods",
        "_now",
        "_recent",
        "_recent_is_mine",
        "_state",
        "_system",
        "busy",
        "fd",
        "send",
        "when_stalled",
        "when_waiting",
    )
    send: Callable[[bytes], int]

    def __init__(
        self,
        fd: int,
        *,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        keep: str = NEWEST,
        wait_policy: Callable[[], WaitPolicy] = WaitPolicy,
        system: System = SYSTEM,
    ) -> None:
        self.fd = fd
        # nothing may be sent past what waits, or while there is no room: `put` checks this, and so
        # does the stream
        self.busy = False
        self._buffer_bytes = buffer_bytes
        self._keep = keep
        self._system = system
        self._now, self._getpid = system.monotonic, system.getpid
        self._make_policy = wait_policy
        self.when_stalled: Callable[[bool], object] = bool
        self.when_waiting: Callable[[Writer], object] = id
        self._capacity = Capacity(fd, system)
        self._state = PerProcess(self._begin, Process(system))
        # a cache in front of it for `hold`, which takes 0.35 microseconds with a stalled reader:
        # asking `PerProcess` would add 0.08
        self._recent_is_mine = fork_mark(system)
        self._recent = self._refresh()
        self._method: Optional[WriteMethod] = None
        self._methods: Iterator[WriteMethod] = iter(())
        self.choose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd} via={self.via} dropped={self.dropped.lines}>"

    @property
    def via(self) -> str:
        """Return the name of the write method; `nothing` if the descriptor is closed."""
        return self._method.name if self._method else "nothing"

    @property
    def dropped(self) -> Dropped:
        """Return what this process has dropped."""
        return self.buffer().dropped

    @property
    def waiting_bytes(self) -> int:
        """Return how much waits for room in this process."""
        return len(self.buffer())

    def buffer(self) -> Buffer:
        """Return what waits in this process: a different object in each process."""
        return self._state.get().buffer

    def choose(self) -> None:
        """Choose the write method again: after `take_over`, or if the descriptor was replaced."""
        self._identity = self._look()
        self._capacity.inspect()
        buffer = self.buffer()
        buffer.split = self._capacity.keeps_messages
        try:
            self._methods = methods_for(self.fd, self._system)
            found = self._next_method()
        except OSError:  # it is closed
            found = False
        if not found:
            self._method, self.send, self.busy = None, _closed, True
        self.busy |= not buffer.done

    def configure(self, *, buffer_bytes: int, keep: str) -> None:
        """Change how much is kept while there is no room, and whether the newest or the oldest."""
        self._buffer_bytes, self._keep = buffer_bytes, keep
        self.buffer().configure(buffer_bytes, keep)

    def _refresh(self) -> ProcessState:
        self._recent = state = self._state.get()
        self._recent_is_mine[0] = 1
        return state

    def _begin(self) -> ProcessState:
        # what waited in the parent at the fork is the parent's to write
        buffer = Buffer(self._buffer_bytes, self._keep, self._now)
        buffer.split = self._capacity.keeps_messages
        return ProcessState(buffer, self._make_policy())

    def _drain(self, state: ProcessState) -> None:
        # a thread that does not get the token leaves its lines to the holder, who therefore checks
        # again after it let go
        buffer = state.buffer
        for _ in range(ROUNDS):
            if not buffer.enter():
                return
            try:
                self._pass(state)
            finally:
                buffer.leave()
            if not buffer.arrivals or self._now() < state.gate:
                return
            state.direct, self.busy = False, True

    def _pass(self, state: ProcessState) -> None:
        buffer = state.buffer
        buffer.passes = this = buffer.passes + 1
        went_through = self._pour(state)
        if not (buffer.kept or buffer.tail):
            buffer.emptied = this
            if went_through:
                self._recover(state)
        if state.policy.allows_waiting:
            # the threads of this process wait, so nothing of theirs is dropped, and there is at
            # most one line of each
            buffer.sort_in()
        else:
            buffer.enforce_limit()
        atomic = self._method is not None and self._method.atomic
        is_free = atomic and buffer.done
        state.direct = is_free and self._now() < state.crowded_until
        self.busy = state.direct or not is_free

    def _pour(self, state: ProcessState) -> bool:
        """Write what waits; return whether some of it went, with room left at the end."""
        buffer = state.buffer
        buffer.sort_in()
        total, refused = 0, False
        for _ in range(DRAIN_PIECES):
            unreported = NOTHING if buffer.tail else buffer.unreported
            notice = buffer.notice(unreported, self._getpid()) if unreported.size_bytes else b""
            data = notice or buffer.next_piece()
            if not data:
                break
            try:
                if not buffer.tail:
                    self._capacity.require(len(data))
                gone = self.send(data)
            except OSError as error:
                refused = not self._retry(error)
                if refused:
                    break
                continue
            total += gone
            if notice:
                self._report(buffer, unreported, data[gone:])
            else:
                buffer.note_written(data[gone:])
        if total:
            self._note_progress(state, total)
        return total > 0 and not refused

    def _report(self, buffer: Buffer, dropped: Dropped, rest: bytes) -> None:
        seconds = buffer.drop_seconds
        buffer.note_reported(dropped)
        buffer.tail = rest
        publish(LinesDropped(self.fd, dropped.lines, dropped.size_bytes, seconds))

    def _note_progress(self, state: ProcessState, size_bytes: int) -> None:
        was_stalled = state.policy.stalled
        state.policy.wrote(size_bytes, self._now())
        if was_stalled and not state.policy.stalled:
            self.when_stalled(False)

    def _recover(self, state: ProcessState) -> None:
        if state.policy.stalled:
            state.policy.stalled = False
            self.when_stalled(False)

    def _retry(self, error: OSError) -> bool:
        """Note why a write failed; return whether to try again at once, by another method."""
        if error.errno is None:
            # not the kernel's: a signal handler of the app has raised its `TimeoutError` meanwhile
            raise error
        if error.errno in REJECTED and (self._was_replaced() or self._next_method()):
            return True
        self.busy = True
        now = self._now()
        state = self._state.get()
        if isinstance(error, BlockingIOError):
            self._note_full(state, now)
        else:
            state.gate = now + BROKEN_GATE_SECONDS
        if error.errno == errno.EBADF:
            self.choose()
        return False

    def _note_full(self, state: ProcessState, now: float) -> None:
        if self._capacity.shared_with_c:
            state.crowded_until = now + CROWDED_SECONDS
        if not state.policy.allows_waiting:
            self._close_gate(state, now)

    def _close_gate(self, state: ProcessState, now: float) -> None:
        state.gate = now + GATE_SECONDS
        if state.policy.stalled:
            self.when_stalled(True)
        self.when_waiting(self)  # type: ignore[arg-type]  # always a whole `Writer`

    def _was_replaced(self) -> bool:
        # `dup2` over it, as when a process daemonizes or a log is rotated: the next method of the
        # old list may harm a file
        if self._look() == self._identity:
            return False
        self.choose()
        return self._method is not None

    def _look(self) -> Tuple[int, int]:
        try:
            return identity_of(self.fd, self._system)
        except OSError:
            return 0, 0

    def _next_method(self) -> bool:
        method = next(self._methods, None)
        if method is None:
            return False
        if self._method is not None:
            self._method.close()
        self._method, self.send, self.busy = method, method.write, not method.atomic
        # what was taken over for C code has O_NONBLOCK; other descriptions block, for everyone else
        is_flagged = isinstance(method, AlreadyNonBlocking)
        self._capacity.shared_with_c = is_flagged and self._capacity.is_pipe
        return True


def _closed(data: bytes) -> int:
    del data
    raise OSError(errno.EBADF, "closed")
