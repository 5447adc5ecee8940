"""What each worker has for its requests: a watchdog, a place in the shared memory, the signal for
stacks. By pid.

It begins when the worker is ready (the hook of the server, or the first request) and ends when it
stops; never in a master.
"""

from __future__ import annotations

import contextlib
import os
import time
from threading import get_ident
from typing import List, Optional

from ..core import frames
from ..core.guard import Guard
from ..core.log import named
from ..errors import Unavailable
from ..events import WorkerKilled
from ..events.announcer import Announcer
from ..servers import Server
from ..settings.options import ON, REPORT, Request
from ..shm import instance
from ..shm.directory import Directory
from . import on_signal
from .heartbeat import Heartbeat
from .on_demand import StacksOnDemand, in_worker, usable
from .records import Found, Region, cut, regions
from .recycling import Recycling
from .running import running
from .shared import Shared, open_shared
from .soft import SoftTimeout
from .watchdog import Watchdog

_guard = Guard("request")
_logger = named("request")
BEAT_BYTES = 16384
NO_FRAMES = "no stacks, no GIL_TIMEOUT, and no worker is replaced because of a request"


class Process:
    """What this process has.

    `start` and `stop` are the server's callbacks; `means` says what there is, for `status()`.
    """

    def __init__(self, options: Request, server: Server, *, watching: bool) -> None:
        self.options = options
        self.server = server
        self._watching = watching
        self._pid = 0
        self._clear()

    def _clear(self) -> None:
        self.shared: Optional[Shared] = None
        self.unshared = ""  # why not
        self.region: Optional[Region] = None
        self.watchdog: Optional[Watchdog] = None
        self.announcer = Announcer()
        self.stacks: Optional[StacksOnDemand] = None
        self._soft: Optional[SoftTimeout] = None
        self._beat_file: Optional[int] = None

    def start(self) -> None:
        """Put everything in place in this process.

        A part that cannot be had is left out, and the others are not.
        """
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._clear()  # what a parent had is the parent's
        running.begin(self._pid)
        with _guard:
            try:
                self._share()
            except (OSError, Unavailable) as reason:
                self.unshared = str(reason)
                _logger.warning(
                    "%s: killed workers will not be reported, nor stuck ones replaced",
                    self.unshared,
                )
        with _guard:
            self.stacks = (
                StacksOnDemand(self.options, self.server) if in_worker(self.server) else None
            )
            if self.stacks is not None and self.stacks.no_socket:
                _logger.warning("no stacks on demand: %s", self.stacks.no_socket)
            if frames.why_not():
                _logger.warning("%s: %s", NO_FRAMES, frames.why_not())
        with _guard, contextlib.suppress(Unavailable):
            self._set_soft_timeout()
        if self._watching:
            self._watch()
        elif self.stacks is not None:
            with _guard:
                self.stacks.start_thread()
        self.server.harakiri.on_set(self._harakiri_set)

    def stop(self) -> None:
        """Take it all away, in an orderly end of this process."""
        if self._pid != os.getpid():
            return
        self.server.harakiri.on_set(None)
        if self.watchdog is not None:
            self.watchdog.stop()
        self.announcer.wait(0.5)
        with _guard:
            self._give_back()
        with _guard:
            if self.stacks is not None:
                self.stacks.close()
        with _guard:
            instance.leave()
        if self._soft is not None:
            self._soft.close()
        self._pid = 0
        self._clear()

    def _watch(self) -> None:
        with _guard:
            self.watchdog = self._make_watchdog()
            self.watchdog.start()

    def _harakiri_set(self) -> None:
        """Follow the harakiri that the app has set for the request of this thread."""
        with _guard:
            slot, budget = running.slots.get(get_ident()), running.budget
            request = None if slot is None else slot.request
            if request is None or budget is None:
                return
            limit = budget.now(request, time.monotonic() - request.start)
            if limit != request.limit:
                request.move(request.start + limit)
                if self.watchdog is None:
                    self._watch()

    def _share(self) -> None:
        identity = self.server.identity()
        if not identity.master_pid or (
            self.options.record != ON and not self.options.recycles_per_minute
        ):
            return
        self.shared = shared = open_shared()
        with shared.lock():
            if self.options.record == ON:
                self.region = self._claim(shared, identity.worker)
        if self.region is not None:
            running.give(self.region.records())
            self._open_beat_file(shared.directory)

    def _claim(self, shared: Shared, worker: int) -> Optional[Region]:
        """Return a free region, made ours, and tell what those were doing whose workers were
        killed.
        """
        free: List[Region] = []
        for region in regions(shared):
            if region.orphaned():
                self._tell(region, _take_text(shared.directory, _beat_name(region)))
                region.give_back()
            if not region.owner[0]:
                free.append(region)
        if not free:
            return None
        free[0].take(os.getpid(), worker)
        return free[0]

    def _tell(self, region: Region, last_words: str) -> None:
        pid, worker = region.owner
        told = False
        for found in region.requests():
            elapsed = max(0.0, region.last_seen - found.begun)
            stacks = "" if told else last_words or _stacks_of(found, region)
            told = told or bool(stacks)
            method, _, path = found.what.partition(" ")
            self.announcer(WorkerKilled(worker, pid, method, path, elapsed, found.doing, stacks))

    def _open_beat_file(self, directory: Directory) -> None:
        if self.options.gil_timeout is not None and self.region is not None:
            self._beat_file = directory.open(
                _beat_name(self.region), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            )

    def _set_soft_timeout(self) -> None:
        name = self.options.soft_signal
        wanted = (
            self.options.soft_timeout == ON
            and name != self.options.stacks_signal
            and self.server.configuration.threads() == 1
        )
        if wanted and name is not None and usable(name, self.server):
            self._soft = SoftTimeout(on_signal.number(name))

    def _make_watchdog(self) -> Watchdog:
        options, recycling, heartbeat = self.options, None, None
        if self.shared is not None and options.recycles_per_minute:
            recycling = Recycling(
                options, self.server, self.shared, self.announcer, self._before_leaving
            )
        if options.gil_timeout is not None and options.mode != REPORT:
            heartbeat = Heartbeat(
                options.gil_timeout, 2 if self._beat_file is None else self._beat_file
            )
        return Watchdog(
            options,
            self.announcer,
            recycling=recycling,
            region=self.region,
            soft=self._soft,
            heartbeat=heartbeat,
            answering=self.stacks.socket if self.stacks is not None else None,
        )

    def _before_leaving(self) -> None:
        self.announcer.wait(0.5)
        self._give_back()

    def _give_back(self) -> None:
        region, shared = self.region, self.shared
        self.region = None
        if shared is None:
            return
        running.take_back()
        with shared.lock():
            if region is not None:
                region.give_back()
                if self._beat_file is not None:
                    shared.directory.unlink(_beat_name(region))
            if not any(other.owner[0] for other in regions(shared)):
                shared.remove()


def _stacks_of(found: Found, region: Region) -> str:
    """Return the last stacks of a worker, and how old they were, if this request ran when they were
    taken.
    """
    dump = region.dump()
    # what another version of the library has left there may be any number
    if not dump.text or not found.begun <= dump.taken <= region.last_seen:
        return ""
    return f"stacks taken {max(0.0, region.last_seen - dump.taken):.1f} s earlier:\n{dump.text}"


def _beat_name(region: Region) -> str:
    return f"gil-{region.number}"


def _take_text(directory: Directory, name: str) -> str:
    """Return what a worker wrote when it ended because of the GIL, and remove it; `""` if there is
    nothing.
    """
    try:
        fd = directory.open(name, os.O_RDONLY)
        try:
            data = os.read(fd, BEAT_BYTES + 1)
        finally:
            os.close(fd)
        directory.unlink(name)
    except (OSError, Unavailable):
        return ""
    return cut(data, BEAT_BYTES).decode(errors="replace")
