"""The watchdog: one thread for each process that scans the running requests and ends what must
be ended.

At `SLOW_AFTER` it logs the request, with all stacks. At the deadline it ends the request's waits,
and goes on doing so as long as the request begins new ones. Past deadline and grace it has the
worker replaced. Whatever it does takes no lock of the app's and writes nothing that could block:
events are logged by another thread.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from ..core.environ import method_and_path
from ..core.guard import Guard
from ..core.system import SYSTEM, System
from ..events import Event, RequestOverdue, RequestSlow
from ..settings.options import AUTO, OFF, REPORT, Request
from ..shm.rows import OwnRow
from ..upstream import meeting
from . import client, stack_dumps
from .last_resort import GilWatchdog, SoftTimeout
from .recycling import Recycling
from .running import RequestDeadline, Running, running
from .stacks_socket import StacksSocket
from .wakeup import Alarm, end_as_known

if TYPE_CHECKING:
    from .ended_waits import EndedWaits
    from .waiting import Waiting

# a request that begins while the thread sleeps may have a deadline as short as any: it is acted
# upon this much late
TICK = 0.25
SHORTEST_SLEEP = 0.01
# After so many scans in a row at which nothing ran it has the next request wake it; scans twice
# more, for one that began just then; and rests.
IDLE_SCANS = 4
LAST_SCANS = 2
REST = 60.0  # whatever is missed
# between two dumps: in an incident all requests become slow at the same time
STACKS_EVERY = 1.0
# where SLOW_AFTER is auto
SLOW_SHARE = 0.8

_guard = Guard("request")
_numbers = itertools.count(1)


class Watched:
    """What has been done about a request. Its number is no other request's of this process."""

    __slots__ = ("number", "overdue", "request", "slow", "spared")

    def __init__(self, request: RequestDeadline) -> None:
        self.number = next(_numbers)
        self.request = request
        self.slow = False
        self.overdue = False
        self.spared = False


class Watchdog:
    """Scans the running requests.

    `start()` gives it a thread; tests call `scan()` with a clock of their own.
    """

    def __init__(
        self,
        options: Request,
        announce: Callable[[Event], object],
        *,
        recycling: Optional[Recycling] = None,
        row: Optional[OwnRow] = None,
        soft: Optional[SoftTimeout] = None,
        heartbeat: Optional[GilWatchdog] = None,
        answering: Optional[StacksSocket] = None,
        waiting: Optional[Waiting] = None,
        ended_waits: Optional[EndedWaits] = None,
        table: Running = running,
        system: System = SYSTEM,
    ) -> None:
        self._options = options
        self._report = options.mode == REPORT
        self._announce = announce
        self._recycling = recycling
        self._row = row
        self._soft = soft if options.soft_timeout else None
        self._heartbeat = heartbeat
        self._answering = answering
        self._waiting = waiting
        self._ended_waits = ended_waits
        self._table = table
        self._system = system
        self._watched: Dict[int, Watched] = {}
        self._last_stacks = -math.inf
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._alarm: Optional[Alarm] = None
        self._idle_scans = 0

    def start(self) -> None:
        """Begin to scan, in a thread of its own.

        It is a daemon: the end of the process does not wait for it.
        """
        self._thread = threading.Thread(
            target=self._run, name="resilient_wsgi watchdog", daemon=True
        )
        self._thread.start()

    def _wake(self) -> None:
        """End the rest; if the app has closed the pipe meanwhile, by another thread."""
        if self._alarm is not None and not self._alarm.ring():
            self.start()

    def stop(self, patience: float = 1.0) -> None:
        """End the thread, unless it is about to replace this worker: then it is what lets the
        process go.
        """
        if self._recycling is not None and self._recycling.under_way:
            return
        self._stop.set()
        if self._alarm is not None:
            self._alarm.ring()
        if self._answering is not None:
            self._answering.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def _run(self) -> None:
        pid, me = os.getpid(), threading.current_thread()
        sleep = 0.0
        if self._alarm is None:
            with contextlib.suppress(OSError):  # no descriptor left: then it never rests
                self._alarm = Alarm()
        while not self._sleep(sleep) and os.getpid() == pid and self._thread is me:
            sleep = TICK
            with _guard:
                sleep = self._rest(self.scan())
        if self._alarm is not None and os.getpid() == pid:
            self._alarm.close()
        end_as_known()

    def _rest(self, sleep: float) -> float:
        """Return how long to sleep: much longer if nothing has run for a while."""
        under_way = self._recycling is not None and self._recycling.under_way
        if self._watched or under_way or self._alarm is None or not self._alarm.works:
            self._idle_scans = 0
            return sleep
        self._idle_scans += 1
        if self._idle_scans == IDLE_SCANS:
            if self._waiting is not None:
                self._waiting.forget()
            self._table.rest(self._wake)
        if self._idle_scans < IDLE_SCANS + LAST_SCANS:
            return sleep
        # C code that holds the GIL may run outside of requests, too
        beats = self._options.gil_timeout if self._heartbeat is not None else None
        return REST if beats is None else min(REST, beats / 4)

    def _sleep(self, seconds: float) -> bool:
        """Sleep, answering `resilient-wsgi stacks` meanwhile; return whether to end the thread."""
        alarm = self._alarm if self._alarm is not None and self._alarm.works else None
        if self._answering is not None and not self._answering.wait(seconds, alarm):
            self._answering = None  # its descriptor was closed
        elif self._answering is None and alarm is not None:
            alarm.wait(seconds)
        elif self._answering is None:
            return self._stop.wait(seconds)
        if alarm is not None and alarm.rang():
            self._idle_scans = 0
        return self._stop.is_set()

    def scan(self) -> float:
        """Scan all requests once, do what is due, and return how long to sleep."""
        now = self._system.monotonic()
        if self._heartbeat is not None:
            self._heartbeat.beat(now)
        requests = self._table.requests()
        if self._row is not None:
            self._row.seen = now
        next_due = now + TICK
        for thread, request in requests:
            next_due = min(next_due, self._see(thread, request, now, requests))
        if meeting.look is not None:
            with _guard:
                meeting.look(now, list(requests))
        if self._recycling is not None:
            self._recycling.go_on(now, requests)
        if len(self._watched) > len(requests):
            self._watched = {
                thread: w for thread, w in self._watched.items() if (thread, w.request) in requests
            }
        return max(SHORTEST_SLEEP, next_due - now)

    def _see(
        self,
        thread: int,
        request: RequestDeadline,
        now: float,
        requests: List[Tuple[int, RequestDeadline]],
    ) -> float:
        watched = self._watched.get(thread)
        if watched is None or watched.request is not request:
            watched = self._watched[thread] = Watched(request)
        self._note(thread, request, now)
        slow_at = request.start + self._slow_after(request)
        if now >= slow_at and not watched.slow:
            watched.slow = True
            self._say_slow(request, now, requests)
        if now >= request.at and not request.client_gone:
            self._follow_harakiri(request, now)
        if now >= request.at:
            spared = self._end_waits(thread, watched, now)
            limit = self._limit(request)
            late = not spared and now >= request.start + limit + self._options.overdue_grace
            if self._recycling is not None and late and stack_dumps.in_request(thread):
                self._recycling.begin(request, now, limit)
        elif self._options.client_left != OFF and request.client_fd >= 0:
            client.check(
                request, now, self._options.client_left == REPORT or self._report, self._announce
            )
        return min(at for at in (slow_at, request.at, now + TICK) if at > now)

    def _slow_after(self, request: RequestDeadline) -> float:
        seconds = self._options.slow_after
        if seconds == AUTO:
            return SLOW_SHARE * request.limit
        return math.inf if seconds is None else float(seconds)

    def _follow_harakiri(self, request: RequestDeadline, now: float) -> None:
        """Give a request more time if harakiri does by now: the app may have set another one."""
        budget = self._table.budget
        if budget is not None:
            limit = budget.now(request, now - request.start)
            if limit > request.limit:
                request.move(request.start + limit)

    def _limit(self, request: RequestDeadline) -> float:
        """Return the seconds in which a request should be over, so that its worker may be replaced.

        Only by what the operator has set for requests. harakiri ends workers by itself, but not
        where another thread's request has cleared it, and the callers' headers end nothing.
        """
        budget = self._table.budget
        asked = request.limit if budget is None else budget.asked(request.environ)
        return max(asked, request.limit)

    def _note(self, thread: int, request: RequestDeadline, now: float) -> None:
        waiting = self._waiting
        doing = request.doing() if waiting is None else waiting.note(thread, request, now)
        slot = self._table.slot_of(thread)
        if slot is not None and slot.row is not None and slot.request is request:
            slot.row.note(doing)

    def _say_slow(
        self, request: RequestDeadline, now: float, requests: List[Tuple[int, RequestDeadline]]
    ) -> None:
        text = ""
        if now - self._last_stacks >= STACKS_EVERY:
            self._last_stacks = now
            text = self._stacks(requests, now)
        method, path = method_and_path(request.environ)
        elapsed = now - request.start
        limit = request.limit if math.isfinite(request.limit) else None
        self._announce(
            RequestSlow(method, path, elapsed, limit, request.waited, request.doing(), text)
        )

    def _stacks(self, requests: List[Tuple[int, RequestDeadline]], now: float) -> str:
        text = stack_dumps.render(stack_dumps.working(requests, now), without=threading.get_ident())
        if self._row is not None:
            self._row.write_stacks(text, now)
        return text

    def _end_waits(self, thread: int, watched: Watched, now: float) -> bool:
        """End what a request waits for; return whether it gets a moment to end by itself, because
        its first wait for a socket was ended just now (that for a commit, after the grace).
        """
        request = watched.request
        # first: a request whose wait was ended may be over, and its environ empty
        named = method_and_path(request.environ)
        waits = list(request.waits)
        count = len(waits) if self._report else sum(wait.interrupt() for wait in waits)
        soft = self._soft
        raised = soft is not None and not self._report and soft.interrupt(thread, request)
        sockets, reason = 0, ""
        # what is registered comes first, and an exception, which C code may wait on through
        if self._ended_waits is not None and not count and (watched.overdue or not raised):
            sockets, reason = self._ended_waits.end(thread, request, watched.number, now)
            count += sockets
        if not watched.overdue and not request.client_gone:  # ClientLeft reports that
            watched.overdue = True
            self._announce(
                RequestOverdue(
                    *named,
                    now - request.start,
                    request.limit,
                    count,
                    soft_timeout=raised,
                    dry_run=self._report,
                    waiting_for="" if count else request.doing(),
                    reason=reason,
                )
            )
        spared = sockets > 0 and not watched.spared
        watched.spared = watched.spared or spared
        return spared
