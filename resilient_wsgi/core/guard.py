"""The one guard around the library's own mistakes: inside a request it never raises an error of its
own making.
"""

from __future__ import annotations

from types import TracebackType
from typing import Optional, Type

from .log import named
from .system import SYSTEM, System

INTERVAL = 60.0


class Guard:
    """Catch, count, and log once a minute what goes wrong inside one component.

    One instance for each component, shared by all threads, used as `with guard:`. It allocates
    nothing when all is well. `KeyboardInterrupt`, `SystemExit` and `GeneratorExit` pass.
    """

    __slots__ = ("_logged", "_logger", "_system", "caught")

    def __init__(self, component: str, system: System = SYSTEM) -> None:
        self._logger = named(component)
        self._system = system
        self._logged = -INTERVAL
        self.caught = 0

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self.report(error)
        return True

    def report(self, error: Optional[BaseException]) -> None:
        """Count an error that was caught, and log it with its traceback unless one was logged in
        the last minute.
        """
        self.caught += 1
        now = self._system.monotonic()
        if now - self._logged < INTERVAL:
            return
        self._logged = now
        try:
            self._logger.error(
                "[RW006] error inside resilient_wsgi (%d so far); the app is not affected",
                self.caught,
                exc_info=error,
            )
        except Exception:
            return
