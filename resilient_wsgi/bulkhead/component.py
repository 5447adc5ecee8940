"""Have no upstream hold all threads of the instance: mark calls, look with the watchdog."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence

from ..component import Component, Context
from ..core.log import named
from ..core.system import PerProcess
from ..errors import Unavailable
from ..servers.base import PROCESS
from ..settings import options as settings
from ..upstream import meeting

if TYPE_CHECKING:
    from .share import FairShare

_logger = named("bulkhead")


class Bulkhead(Component[settings.Bulkhead]):
    """An upstream that hangs gets its share of the threads, and no more."""

    name = "bulkhead"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options = settings.Bulkhead()
        self._shares: PerProcess[Optional[FairShare]] = PerProcess(self._made)
        self._why_not: PerProcess[List[str]] = PerProcess(list)

    def install(self, options: settings.Bulkhead) -> Sequence[str]:
        """Begin when the worker serves; what is under way goes on as it began.

        Raises `Unavailable` where what it needs of other sections is off.
        """
        server = self.context.server
        self.uninstall()
        missing = self._missing(options)
        if missing:
            raise Unavailable(missing)
        self._options = options
        server.hooks.serving.add(self._start)
        server.hooks.stop.add(self._stop)
        return (f"an upstream that hangs holds {options.share:.0%} of the threads at most",)

    def _missing(self, options: settings.Bulkhead) -> str:
        outbound, request = self.settings[settings.Outbound], self.settings[settings.Request]
        if outbound.mode not in (settings.ENFORCE, options.mode):
            return f"it counts the calls that OUTBOUND limits, and OUTBOUND.MODE is {outbound.mode}"
        if request.mode == settings.OFF:
            return "its watchdog is that of requests, and REQUEST.MODE is off"
        if not request.record:
            return "it counts the threads that REQUEST.RECORD notes, which is off"
        return ""

    def uninstall(self) -> None:
        """Refuse and end nothing more."""
        self.context.server.hooks.forget(self._start)
        self.context.server.hooks.forget(self._stop)
        self._stop()
        super().uninstall()

    def status(self) -> Sequence[str]:
        """Return which upstreams are limited, or why none can be."""
        why_not = self._why_not.peek()
        if why_not:
            return (f"nothing is limited: {why_not[0]}",)
        share = self._shares.peek()
        return () if share is None else share.status()

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it."""
        return {"limit": "cli.limit"}

    def _start(self) -> None:
        with self.context.guard:
            share = self._shares.get()
            if share is not None:
                meeting.gate, meeting.look = share.gate, share.look

    def _stop(self) -> None:
        meeting.gate = meeting.look = None
        self._shares.clear()

    def _made(self) -> Optional[FairShare]:
        server = self.context.server
        if server.identity().role == PROCESS:
            return None
        from .share import FairShare

        try:
            return FairShare(self._options, server, self.context.announce)
        except (OSError, Unavailable) as reason:
            self._why_not.get().append(str(reason))
            _logger.warning("[RW113] no upstream is limited: %s", reason)
            return None
