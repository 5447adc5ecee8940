"""The writer: whole lines to one descriptor, by whoever, waiting for a reader only while it makes
progress.
"""

from __future__ import annotations

import errno
from threading import get_ident
from typing import Callable, Dict, Iterator, Optional, Tuple

from ..core.system import SYSTEM, System, fork_mark
from ..events import LinesDropped, publish
from ..host.linux import PIPE_BUF
from .buffer import BATCH, CROWD, NEWEST, Dropped, Spill
from .patience import Patience
from .room import Room
from .write_methods import REFUSED, Flagged, Means, ladder

# seconds without a system call after the descriptor was found full of what a stalled reader does
# not take, and after it was found broken (reader gone, disk full)
GATE = 0.05
BROKEN_GATE = 1.0
# seconds of a wait for room before the next look: POLLOUT wakes it, but says full while there is
# room for a short line
POLL = 0.005
# and for so long after the last time that there was none, room is left for C code
CROWDED_SECONDS = 5.0
SPIN = 0.0005
GIVE_UP_TRIES = 20
# how much one caller writes on behalf of others: 64 pieces of 4 KiB take about 0.1 ms
DRAIN_PIECES = 64
ROUNDS = 16
DEFAULT_SPILL_BYTES = 256 * 1024


class Writer:
    """Writes to one descriptor. Never raises `OSError`.

    While there is room and nothing waits, a write is one system call and touches no shared state.
    Else it goes to the spill, and its caller waits until it is written as long as `patience`
    allows, which is while the reader makes progress. With a stalled reader nobody waits: after the
    gate the next caller writes what waits, in order, with one line before it that says what was
    dropped. Lines of one thread keep their order. State belongs to one process: a fork begins with
    none.

    `patience` makes a `Patience` for each process. `when_stalled` is called when a reader is found
    stalled, or back; `when_waiting`, with this writer, when a thread goes on although something
    waits.

    Not promised: that a stalled disk does not stall (regular files take plain writes), nor that a
    reader that splices the pipe into a full socket does not hold the kernel's lock of the pipe.
    """

    __slots__ = (
        "_arrivals",
        "_crowded_until",
        "_gate",
        "_getpid",
        "_identity",
        "_keep",
        "_ladder",
        "_mark",
        "_means",
        "_now",
        "_passes",
        "_patience",
        "_patience_of",
        "_room",
        "_spill",
        "_spill_bytes",
        "_spills",
        "_system",
        "busy",
        "fd",
        "send",
        "when_stalled",
        "when_waiting",
    )

    def __init__(
        self,
        fd: int,
        *,
        spill_bytes: int = DEFAULT_SPILL_BYTES,
        keep: str = NEWEST,
        patience: Callable[[], Patience] = Patience,
        system: System = SYSTEM,
    ) -> None:
        self.fd = fd
        # nothing may be sent past what waits, or while there is no room: `put` looks at this, and
        # so does the stream
        self.busy = False
        self._spill_bytes = spill_bytes
        self._keep = keep
        self._system = system
        self._now, self._getpid = system.monotonic, system.getpid
        self._mark = fork_mark(system)
        self._patience_of = patience
        self.when_stalled: Callable[[bool], object] = bool
        self.when_waiting: Callable[[Writer], object] = id
        self._room = Room(fd, system)
        self._spills: Dict[int, Spill] = {}
        self._renew()
        self._means: Optional[Means] = None
        self._ladder: Iterator[Means] = iter(())
        self.choose()

    def __repr__(self) -> str:
        return f"<Writer fd={self.fd} via={self.via} dropped={self.dropped.lines}>"

    @property
    def via(self) -> str:
        """Return the name of the means; `nothing` where the descriptor is closed."""
        return self._means.name if self._means else "nothing"

    @property
    def dropped(self) -> Dropped:
        """Return what this process has dropped."""
        return self.spill().dropped

    @property
    def waiting_bytes(self) -> int:
        """Return how much waits for room in this process."""
        return len(self.spill())

    def spill(self) -> Spill:
        """Return what waits in this process: another object in each."""
        if not self._mark[0]:
            self._renew()
        return self._spill

    def choose(self) -> None:
        """Choose the means anew: after `take_over`, or when the descriptor has been replaced."""
        self._identity = self._look()
        self._room.look()
        self._spill.split = self._room.keeps_messages
        self._ladder = ladder(self.fd, self._system)
        try:
            found = self._step()
        except OSError:
            found = False
        if not found:  # it is closed
            self._means, self.send, self.busy = None, self._broken, True
        self.busy |= not self.spill().done

    def configure(self, *, spill_bytes: int, keep: str) -> None:
        """Change how much is kept while there is no room, and whether the newest or the oldest of
        it.
        """
        self._spill_bytes, self._keep = spill_bytes, keep
        self.spill().configure(spill_bytes, keep)

    def put(self, data: bytes) -> None:
        """Write whole lines, or the beginning of one if its end may be torn from it."""
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
        """Have this wait behind what waits already, and write of it what there is room for, unless
        the gate is closed.
        """
        if not self._mark[0]:
            self._renew()
        if self._passes and self._pass(data):
            return
        arrivals = self._arrivals
        arrivals.append(data)
        if self._now() >= self._gate:
            spill = self._spill
            wanted = spill.passes + 1  # a pass that begins from here on finds it
            self._drain(spill)
            if spill.emptied < wanted:
                self._wait(spill, lambda: spill.emptied >= wanted)
        elif len(arrivals) >= BATCH:
            self._settle(self._spill)

    def _pass(self, data: bytes) -> bool:
        """Send it, when nothing waits and there is more room than for it; return whether it went."""
        try:
            self._room.expect(len(data))
            gone = self.send(data)
        except OSError as error:
            self._passes = False
            self._refused(error)
            return False
        if gone != len(data):
            self.torn(data[gone:])
        elif self._now() >= self._crowded_until:
            self.busy = self._passes = False
        return True

    def hold_long(self, data: bytes) -> None:
        """Have what does not fit into one piece wait; keep to the bound at once, as many of them
        would take much memory.
        """
        self.hold(data)
        if self._now() < self._gate:
            self._settle(self._spill)

    def failed(self, data: bytes, error: OSError) -> None:
        """Have this wait, which `send` has refused."""
        self._refused(error)
        self.hold(data)

    def torn(self, tail: bytes) -> None:
        """Have this follow before anything else: the rest of what `send` took a part of (a disk
        that is full).
        """
        self.spill().tail += tail
        self._passes, self.busy = False, True

    def drain(self) -> None:
        """Write what waits, as far as there is room, unless the gate is closed."""
        if not self._passes and self._now() >= self._gate:
            self._drain(self.spill())

    def make_room(self) -> None:
        """Do the same, and wait as for a line until C code finds room as well.

        For the end of a request.
        """
        self.drain()
        if self._now() >= self._gate and not self._room.has_reserve:
            self._wait(self.spill(), lambda: self._room.has_reserve)

    def flush(self, seconds: float) -> bool:
        """Write what waits, and wait at most so long for room; return whether all is written and
        said. For the end of a process.
        """
        end = self._now() + seconds
        spill = self.spill()
        while True:
            self._drain(spill)
            left = end - self._now()
            if spill.done or left <= 0:  # draining may drop: that is to be said, too
                return spill.done
            # POLLOUT would say full while there is still room for a short line
            self._system.sleep(min(left, 0.01))

    def inherit(self, dropped: Dropped) -> None:
        """Say this as well, when there is room: what processes that have ended could not."""
        spill = self.spill()
        spill.inherited = Dropped(*map(sum, zip(spill.inherited, dropped)))
        spill.inherits = True
        self._passes, self.busy = False, True

    def give_up(self) -> Dropped:
        """Drop what waits; return what was dropped and not said, for others to say.

        For the end of a process.
        """
        spill = self.spill()
        for _ in range(GIVE_UP_TRIES):
            if spill.enter():
                try:
                    spill.abandon()
                finally:
                    spill.leave()
                break
            self._system.sleep(SPIN)  # another thread writes just now, and waits for nothing
        unsaid = spill.unsaid
        spill.said(unsaid)
        return unsaid

    def find_stalled(self) -> None:
        """Take the reader for stalled until it has taken what is written next.

        For who has waited for room already.
        """
        self.spill()
        self._patience.stalled = self.busy = True
        self._passes = False
        self.when_stalled(True)

    def _renew(self) -> None:
        # what waited in the parent at the fork is the parent's to write; several threads may find
        # this out at once
        pid = self._getpid()
        self._spill = self._spills.setdefault(pid, Spill(self._spill_bytes, self._keep, self._now))
        self._arrivals = self._spill.arrivals
        self._spills = {pid: self._spill}
        self._spill.split = self._room.keeps_messages
        self._patience = self._patience_of()
        self._gate = self._crowded_until = 0.0
        # whether lines may be sent although `busy`, each after a look at the room
        self._passes = False
        self._mark[0] = 1

    def _settle(self, spill: Spill) -> None:
        if spill.enter():
            try:
                spill.settle()
            finally:
                spill.leave()
        elif len(spill.arrivals) > CROWD:
            spill.overrun()

    def _wait(self, spill: Spill, done: Callable[[], bool]) -> None:
        """Wait until it is done, as long as that is worth it, and write what waits meanwhile."""
        if spill.owner == get_ident():
            return  # a signal handler of the thread that writes: it would wait for itself
        patience, now = self._patience, self._now()
        patience.begin(now)
        while not done() and patience.waits and now >= self._gate:
            begin, now = now, self._pause(spill, now)
            patience.waited(begin, now)
            patience.judge(now)
            self._drain(spill)
        if not done() and now >= self._gate:
            self._close_gate(now)
            self._settle(spill)

    def _pause(self, spill: Spill, now: float) -> float:
        """Wait a moment for room; return the time."""
        has_room = self._system.writable(self.fd, POLL)
        after = self._now()
        # there is room, but another thread is at it, or too little for a long line
        if after - now < SPIN:
            self._system.sleep(SPIN)
            after = self._now()
        # while several processes fill the pipe as soon as it is read, the amount in it may look the
        # same at each look
        if self._room.changed() or (has_room and not self._room.refused and not spill.owner):
            self._patience.moved(after)
        return after

    def _close_gate(self, now: float) -> None:
        self._gate = now + GATE
        if self._patience.stalled:
            self.when_stalled(True)
        self.when_waiting(self)

    def _drain(self, spill: Spill) -> None:
        # whoever fails to get the token leaves its lines to the holder, who therefore looks again
        # after it let go
        for _ in range(ROUNDS):
            if not spill.enter():
                return
            try:
                spill.passes = this = spill.passes + 1
                through = self._pour(spill)
                if not (spill.kept or spill.tail):
                    spill.emptied = this
                    if through:
                        self._recovered()
                if self._patience.waits:
                    # its threads wait: nothing of it is dropped, and there is one line of each at
                    # most
                    spill.order()
                else:
                    spill.settle()
                is_free = spill.done and self._is_atomic
                self._passes = is_free and self._now() < self._crowded_until
                self.busy = self._passes or not is_free
            finally:
                spill.leave()
            if not spill.arrivals or self._now() < self._gate:
                return
            self._passes, self.busy = False, True

    @property
    def _is_atomic(self) -> bool:
        return self._means is not None and self._means.atomic

    def _recovered(self) -> None:
        if self._patience.stalled:
            self._patience.stalled = False
            self.when_stalled(False)

    def _pour(self, spill: Spill) -> bool:
        """Write what waits; return whether some was written, and there was room for the last of it,
        too.
        """
        spill.order()
        total, refused = 0, False
        for _ in range(DRAIN_PIECES):
            unsaid = Dropped(0, 0) if spill.tail else spill.unsaid
            data = (
                spill.tail or self._notice(spill, unsaid) or (spill.kept[0] if spill.kept else b"")
            )
            if not data:
                break
            try:
                if not spill.tail:
                    self._room.expect(len(data))
                gone = self.send(data)
            except OSError as error:
                refused = not self._refused(error)
                if refused:
                    break
                continue
            total += gone
            if unsaid.size_bytes:
                seconds = spill.drop_seconds
                spill.said(unsaid)
                publish(LinesDropped(self.fd, unsaid.lines, unsaid.size_bytes, seconds))
            elif not spill.tail:
                spill.kept_bytes -= len(spill.kept.popleft())
            spill.tail = data[gone:]
        if total:
            self._note_progress(total)
        return total > 0 and not refused

    def _note_progress(self, size_bytes: int) -> None:
        was_stalled = self._patience.stalled
        self._patience.took(size_bytes, self._now())
        if was_stalled and not self._patience.stalled:
            self.when_stalled(False)

    def _notice(self, spill: Spill, unsaid: Dropped) -> bytes:
        if not unsaid.size_bytes:
            return b""
        if spill.inherits:  # since when those dropped is not known
            text = "resilient_wsgi: %d lines (%d bytes) dropped by process %d and processes before it\n"
            return (text % (*unsaid, self._getpid())).encode()
        text = "resilient_wsgi: %d lines (%d bytes) dropped in %.1f s by process %d\n"
        return (text % (*unsaid, spill.drop_seconds, self._getpid())).encode()

    def _refused(self, error: OSError) -> bool:
        """Note why a write failed; return whether to try again at once, by other means."""
        if (
            error.errno is None
            # not the kernel's: a signal handler of the app's has raised its `TimeoutError`
            # meanwhile
        ):
            raise error
        if error.errno in REFUSED and (self._was_replaced() or self._step()):
            return True
        self.busy = True
        now = self._now()
        self.spill()  # after a fork, what is noted below is of this process
        if isinstance(error, BlockingIOError):
            self._full(now)
        else:
            self._gate = now + BROKEN_GATE
        if error.errno == errno.EBADF:
            self.choose()
        return False

    def _full(self, now: float) -> None:
        if self._room.shared_with_c:
            self._crowded_until = now + CROWDED_SECONDS
        if not self._patience.waits:
            self._close_gate(now)

    def _was_replaced(self) -> bool:
        # `dup2` over it, as when a daemon is made or a log is rotated: the next rung of the old
        # ladder may harm a file
        if self._look() == self._identity:
            return False
        self.choose()
        return self._means is not None

    def _look(self) -> Tuple[int, int]:
        try:
            status = self._system.fstat(self.fd)
        except OSError:
            return 0, 0
        return status.st_dev, status.st_ino

    def _step(self) -> bool:
        means = next(self._ladder, None)
        if means is None:
            return False
        if self._means is not None:
            self._means.close()
        self._means, self.send, self.busy = means, means.write, not means.atomic
        # what was taken over for C code has O_NONBLOCK; other descriptions block, for whoever is
        # not us
        self._room.shared_with_c = isinstance(means, Flagged) and self._room.is_pipe
        return True

    def _broken(self, data: bytes) -> int:
        del data
        raise OSError(errno.EBADF, "closed")
