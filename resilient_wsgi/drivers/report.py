"""Report the waits of drivers that limits have ended: once a minute for each line of the app."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from .. import deadline, events
from ..core.app_lines import caller_on
from ..core.seldom import Seldom
from ..events.drivers import DriverPhase, DriverTimedOut

if TYPE_CHECKING:
    from ..events.drivers import Driver
    from .limits import End

LOGGED_EVERY = 60.0


class Reports:
    """Emits the events of this process."""

    def __init__(self) -> None:
        self._seldom = Seldom(LOGGED_EVERY)

    def gave_up(
        self, service: str, peer: str, phase: DriverPhase, elapsed: float, end: End, dry_run: bool
    ) -> None:
        """Emit the event of a wait that was ended; publish it without logging if its line of the
        app was logged in the last minute.
        """
        caller = caller_on(sys._getframe(1))  # noqa: SLF001 - inspect.stack() reads source files
        count = self._seldom.due((caller, service, peer))
        request = deadline.request_of(deadline.CURRENT.get())
        event = DriverTimedOut(
            service=cast("Driver", service),
            peer=peer,
            phase=phase,
            elapsed=elapsed,
            limit=end.seconds,
            limited_by=end.by,
            setting=end.setting,
            caller=caller.line,
            function=caller.function,
            request="" if request is None else request.name,
            count=max(count, 1),
            dry_run=dry_run,
        )
        (events.emit if count else events.publish)(event)
