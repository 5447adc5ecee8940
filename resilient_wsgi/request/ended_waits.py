"""End the wait of an overdue request for any socket and any driver, in Python or in C.

Which waits may be ended, and how that is done, is in host/waits_refusals.py and waits_chain.py.
Here: for which request, and what is logged about it.
"""

from __future__ import annotations

from types import FrameType
from typing import Callable, Iterator, NamedTuple, Optional, Tuple

from ..core import app_entries, app_lines, frames
from ..core.environ import method_and_path
from ..core.system import PerProcess
from ..events import Event, WaitEnded
from ..host import procfs, waits_chain, waits_refusals, waits_sockets
from ..host.waits import SOCKET
from ..host.waits_chain import Still
from ..host.waits_end import AGAIN, MOST_ENDS, REFUSED, Ends, Outcome
from ..host.waits_sockets import Inherited
from ..settings.options import REPORT, Request
from .running import RequestDeadline, Running, running
from .waiting import Waiting

SOCKETS = "sockets"
KNOWN_ALONE = "at the deadline only registered waits and those of HTTP clients are ended"
# which of the ends of a request are logged: more would be a client's retries, again and again
_TOLD = (1, AGAIN, MOST_ENDS)
_FORGET_EVERY = 256


class Attempt(NamedTuple):
    """How many waits were ended: none or one; `reason` is why, where that is to be logged."""

    ended: int = 0
    reason: str = ""


_NOTHING = Attempt()


def why_not(options: Request) -> str:
    """Return why no wait for a socket will be ended in this process; `""` if they will, or are not
    wanted to be.
    """
    if options.end_waits != SOCKETS or options.mode == REPORT:
        return ""
    return waits_refusals.of_process() or frames.why_not() or waits_chain.why_not()


class EndedWaits:
    """Ends waits for sockets of this process's requests; for the watchdog."""

    def __init__(
        self,
        options: Request,
        announce: Callable[[Event], object],
        waiting: Waiting,
        inherited: Optional[Inherited],
        table: Running = running,
    ) -> None:
        self._wanted = options.end_waits == SOCKETS and options.mode != REPORT
        self._grace = options.overdue_grace
        self._announce = announce
        self._waiting = waiting
        self._table = table
        self._ends = None if inherited is None else Ends(inherited)
        self._count = 0

    def __repr__(self) -> str:
        return f"<EndedWaits {self._ends if self._wanted else 'known'}>"

    def end(self, thread: int, request: RequestDeadline, number: int, now: float) -> Attempt:
        """End what the thread of a request waits for if that may be done; `number` is the request's
        own.
        """
        # not if its client has gone, which has only brought the deadline forward
        if not self._wanted or self._ends is None or now < request.due:
            return _NOTHING
        wait, slot = self._waiting.wait(thread), self._table.slot_of(thread)
        if wait is None or slot is None or wait.kind != SOCKET:
            return _NOTHING
        frame = frames.frame_of(thread)
        if frame is None:  # cannot be read: who shares its connections is unknown
            return Attempt(reason=frames.why_not())
        if not app_entries.inside(frame):  # the server waits, for a slow client
            return _NOTHING
        # by the time that it is logged, the request may be over and its environ empty
        named, caller = method_and_path(request.environ), app_lines.caller_on(frame)
        outcome = self._ends.end(
            wait,
            number,
            Still.attribute(slot, "request", request),
            lambda: _functions(thread),
            late=now >= request.due + self._grace,
        )
        self._forget()
        if not outcome.ended:
            return Attempt(reason=outcome.reason) if outcome.state == REFUSED else _NOTHING
        if outcome.ends in _TOLD:
            times = now - request.start, request.limit
            self._announce(_event(outcome, named, times, caller))
        return Attempt(1)

    def _forget(self) -> None:
        self._count += 1
        if self._count % _FORGET_EVERY == 0 and self._ends is not None:
            self._ends.forget(procfs.tasks())


def _event(
    outcome: Outcome,
    named: Tuple[str, str],
    times: Tuple[float, float],
    caller: app_lines.Caller,
) -> WaitEnded:
    wait = outcome.wait
    return WaitEnded(
        *named,
        *times,
        kind="tcp" if wait.endpoint is not None and wait.endpoint.is_tcp else "unix",
        peer=wait.peer,
        service=wait.service,
        connecting=wait.connecting,
        caller=caller.line,
        function=caller.function,
        how="reset" if outcome.how == "reset" else "shutdown",
        ends=outcome.ends,
    )


def _functions(thread: int) -> Iterator[Tuple[str, str]]:
    """Yield module and function of each frame of a thread, the innermost first."""
    frame: Optional[FrameType] = frames.frame_of(thread)
    while frame is not None:
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        frame = frame.f_back


def inherited() -> Optional[Inherited]:
    """Return what this process has open by now, None where /proc does not tell."""
    try:
        return waits_sockets.snapshot()
    except OSError:
        return None


class WorkerWaits:
    """What a worker needs for this; made where the app is loaded, which may be its master."""

    def __init__(self, options: Request) -> None:
        self._options = options
        self._said = why_not(options)  # in the line at startup
        self._inherited: PerProcess[Optional[Inherited]] = PerProcess(self._open_by_now)
        self._waiting = PerProcess(Waiting)
        self._inherited.get()

    def __repr__(self) -> str:
        return f"<WorkerWaits {why_not(self._options) or self._options.end_waits}>"

    def waiting(self) -> Waiting:
        """Return what names the waits of this process."""
        return self._waiting.get()

    def ended_waits(self, announce: Callable[[Event], object]) -> EndedWaits:
        """Return what ends the waits of this process."""
        return EndedWaits(self._options, announce, self.waiting(), self._inherited.get())

    def new_reason(self) -> str:
        """Return what is to be logged if this process can do less than was reported at startup."""
        reason = why_not(self._options)
        return "" if reason in ("", self._said, frames.why_not()) else f"{KNOWN_ALONE}: {reason}"

    def _open_by_now(self) -> Optional[Inherited]:
        return inherited() if self._options.end_waits == SOCKETS else None
