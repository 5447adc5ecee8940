"""The writer: whole lines to one descriptor, waiting for a reader only while it makes progress."""

from __future__ import annotations

from threading import get_ident
from typing import Callable

from ..host.linux import PIPE_BUF
from .buffer import BATCH, CROWD, Buffer, Dropped
from .buffered_descriptor import BufferedDescriptor, ProcessState

# how long a thread waits for room before it polls again: POLLOUT wakes it, but reports a full pipe
# while there is room for a short line
POLL_SECONDS = 0.005
SPIN_SECONDS = 0.0005
GIVE_UP_TRIES = 20


class Writer(BufferedDescriptor):
    """Writes to one descriptor. Never raises `OSError`.

    While there is room and nothing waits, a write is one system call and touches no shared state.
    Otherwise the line goes to the buffer, and its caller waits until it is written for as long as
    the wait policy allows, which is while the reader makes progress. With a stalled reader no
    thread waits: when the gate opens, the next caller writes what waits, in order, after one line
    that reports what was dropped. Lines of one thread keep their order. State belongs to one
    process: a fork begins with none.

    `wait_policy` makes a `WaitPolicy` for each process. `when_stalled` is called when a reader is
    found stalled, or back; `when_waiting`, with this writer, when a thread goes on although
    something waits.

    Not promised: that a stalled disk does not stall (regular files take plain writes), nor that a
    reader that splices the pipe into a full socket does not hold the kernel's lock of the pipe.
    """

    __slots__ = ()

    def put(self, data: bytes) -> None:
        """Write whole lines, or the beginning of a line whose end may be torn from it."""
        if len(data) > PIPE_BUF:
            self.hold_long(data)
            return
        if self.busy:
            self.hold(data)
            return
        try:
            gone = self.send(data)
        except OSError as error:
            self.failed(data, error)
        else:
            if gone != len(data):
                self.torn(data[gone:])

    def hold(self, data: bytes) -> None:
        """Buffer this, and write of the buffer what there is room for unless the gate is closed."""
        state = self._recent if self._recent_is_mine[0] else self._refresh()
        if state.direct and self._send_directly(state, data):
            return
        arrivals = state.arrivals
        arrivals.append(data)
        if self._now() >= state.gate:
            buffer = state.buffer
            wanted = buffer.passes + 1  # a pass that begins from here on finds it
            self._drain(state)
            if buffer.emptied < wanted:
                self._wait(state, lambda: buffer.emptied >= wanted)
        elif len(arrivals) >= BATCH:
            _enforce_limit(state.buffer)

    def _send_directly(self, state: ProcessState, data: bytes) -> bool:
        """Send this if there is more room than it needs; return whether it went."""
        try:
            self._capacity.require(len(data))
            gone = self.send(data)
        except OSError as error:
            state.direct = False
            self._retry(error)
            return False
        if gone != len(data):
            self.torn(data[gone:])
        elif self._now() >= state.crowded_until:
            self.busy = state.direct = False
        return True

    def hold_long(self, data: bytes) -> None:
        """Buffer what is longer than one piece, and enforce the limit at once.

        Many of them would take much memory otherwise.
        """
        self.hold(data)
        state = self._state.get()
        if self._now() < state.gate:
            _enforce_limit(state.buffer)

    def failed(self, data: bytes, error: OSError) -> None:
        """Buffer what `send` has refused with this error."""
        self._retry(error)
        self.hold(data)

    def torn(self, rest: bytes) -> None:
        """Have this written before anything else: the rest of what `send` took in part.

        That happens on a disk that is full.
        """
        state = self._state.get()
        state.buffer.tail += rest
        state.direct, self.busy = False, True

    def drain(self) -> None:
        """Write what waits, as far as there is room, unless the gate is closed."""
        state = self._state.get()
        if not state.direct and self._now() >= state.gate:
            self._drain(state)

    def make_room(self) -> None:
        """Write what waits, and wait as for a line until C code finds room as well.

        For the end of a request.
        """
        self.drain()
        state = self._state.get()
        if self._now() >= state.gate and not self._capacity.has_reserve:
            self._wait(state, lambda: self._capacity.has_reserve)

    def flush(self, seconds: float) -> bool:
        """Write what waits, waiting up to `seconds` for room; return whether nothing is left.

        What was dropped must be reported as well. For the end of a process.
        """
        end = self._now() + seconds
        state = self._state.get()
        while True:
            self._drain(state)
            left = end - self._now()
            if state.buffer.done or left <= 0:  # draining may drop, which must be reported
                return state.buffer.done
            # POLLOUT would report a full pipe while there is still room for a short line
            self._system.sleep(min(left, 0.01))

    def inherit(self, dropped: Dropped) -> None:
        """Report this as well when there is room: what exited processes could not report."""
        state = self._state.get()
        state.buffer.inherit(dropped)
        state.direct, self.busy = False, True

    def give_up(self) -> Dropped:
        """Drop what waits; return what was dropped and not reported, for another process to report.

        For the end of a process.
        """
        buffer = self.buffer()
        for _ in range(GIVE_UP_TRIES):
            if buffer.enter():
                try:
                    buffer.abandon()
                finally:
                    buffer.leave()
                break
            self._system.sleep(SPIN_SECONDS)  # another thread writes just now, without waiting
        unreported = buffer.unreported
        buffer.note_reported(unreported)
        return unreported

    def mark_stalled(self) -> None:
        """Treat the reader as stalled until it has taken what is written next.

        For a caller that has waited for room already.
        """
        state = self._state.get()
        state.policy.stalled = self.busy = True
        state.direct = False
        self.when_stalled(True)

    def _wait(self, state: ProcessState, done: Callable[[], bool]) -> None:
        """Wait until `done()`, as long as the policy allows, and write what waits meanwhile."""
        if state.buffer.owner == get_ident():
            return  # a signal handler of the thread that writes: it would wait for itself
        policy, now = state.policy, self._now()
        policy.begin(now)
        while not done() and policy.allows_waiting and now >= state.gate:
            begin, now = now, self._pause(state, now)
            policy.waited(begin, now)
            policy.detect_stall(now)
            self._drain(state)
        if not done() and now >= state.gate:
            self._close_gate(state, now)
            _enforce_limit(state.buffer)

    def _pause(self, state: ProcessState, now: float) -> float:
        """Wait a moment for room; return the time."""
        has_room = self._system.writable(self.fd, POLL_SECONDS)
        after = self._now()
        # there is room, but another thread is writing, or too little for a long line
        if after - now < SPIN_SECONDS:
            self._system.sleep(SPIN_SECONDS)
            after = self._now()
        # while several processes fill the pipe as soon as it is read, each poll may find the same
        # amount in it
        has_room = has_room and not self._capacity.refused and not state.buffer.owner
        if self._capacity.changed() or has_room:
            state.policy.progress(after)
        return after


def _enforce_limit(buffer: Buffer) -> None:
    if buffer.enter():
        try:
            buffer.enforce_limit()
        finally:
            buffer.leave()
    elif len(buffer.arrivals) > CROWD:
        buffer.overrun()
