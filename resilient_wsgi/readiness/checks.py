"""Readiness checks: functions that say whether a worker could serve now, run off the request path,
their answers kept.

A check is ready when its function returns None or True. False or a text (the reason) is not ready;
so is an exception, a function that does not return in time, and any other value. Whoever asks gets
the last answer, never waits for a new one.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union, overload

from ..core.system import SYSTEM, System
from ..core.text import one_line

Function = Callable[[], Union[bool, str, None]]
_F = TypeVar("_F", bound=Function)

TIMEOUT = 2.0
INTERVAL = 10.0
NOT_YET = "has not run yet"


class Check:
    """A function, how long it may take, how often it runs, and its last answer."""

    def __init__(
        self,
        function: Function,
        name: str,
        timeout: float,
        interval: float,
        system: System = SYSTEM,
    ) -> None:
        self.name = name
        self._function = function
        self._timeout = timeout
        self._interval = interval
        self._system = system
        self._began: Optional[float] = None
        self._answer = NOT_YET
        self._pid = 0
        self._wake = threading.Event()

    def __repr__(self) -> str:
        return f"<Check {self.name}: {self.problem() or 'ready'}>"

    def problem(self) -> str:
        """Return why it is not ready, "" if it is."""
        if self._pid != self._system.getpid():
            return NOT_YET
        began = self._began
        if began is not None and self._system.monotonic() - began > self._timeout:
            return f"takes longer than {self._timeout:g} s"
        return self._answer

    def start(self) -> None:
        """Have it run in a thread of its own in this process, again and again: one that hangs keeps
        no other waiting.
        """
        if self._pid != self._system.getpid():  # a fork takes no thread along
            self._pid, self._began, self._answer = self._system.getpid(), None, NOT_YET
            self._wake = threading.Event()
            threading.Thread(
                target=self._loop, name=f"readiness check {self.name}", daemon=True
            ).start()

    def stop(self) -> None:
        """Run it no more."""
        self._pid = -1
        self._wake.set()

    def run(self) -> None:
        """Run it once, here."""
        self._began = self._system.monotonic()
        try:
            self._answer = self._read(self._function())
        except Exception as error:
            self._answer = one_line(f"{type(error).__name__}: {error}")
        finally:
            self._began = None

    def _loop(self) -> None:
        pid, wake = self._pid, self._wake
        while self._pid == pid:
            self.run()
            # sooner while it is not ready: others wait for it
            wake.wait(min(self._interval, 1.0) if self._answer else self._interval)

    @staticmethod
    def _read(value: object) -> str:
        if value is None or value is True:
            return ""
        if value is False:
            return "says no"
        if isinstance(value, str):
            return value or "says no"
        return f"returned {value!r:.100}: it takes True, None, False or a reason"


_checks: Dict[str, Check] = {}


@overload
def check(function: _F) -> _F: ...
@overload
def check(
    *, name: str = ..., timeout: float = ..., interval: float = ...
) -> Callable[[_F], _F]: ...


def check(
    function: Optional[Function] = None,
    *,
    name: str = "",
    timeout: float = TIMEOUT,
    interval: float = INTERVAL,
) -> Any:
    """Register a readiness check: `@check`, or `@check(name="cache", timeout=1, interval=5)`; times
    are in seconds.

    The function takes nothing and is called in a thread of its own. A second one of the same name
    (by default the function's own) takes the place of the first. Raises `TypeError` for a coroutine
    function, `ValueError` for times that are not above 0.
    """
    if function is None:
        return lambda decorated: _register(decorated, name, timeout, interval)
    return _register(function, name, timeout, interval)


def _register(function: _F, name: str, timeout: float, interval: float) -> _F:
    if not callable(function) or getattr(getattr(function, "__code__", None), "co_flags", 0) & 0x80:
        msg = f"a readiness check is a plain function without arguments, not {function!r}"
        raise TypeError(msg)
    if not (timeout > 0 and interval > 0):
        msg = f"timeout and interval of a readiness check are above 0, not {timeout!r} and {interval!r}"
        raise ValueError(msg)
    name = name or getattr(function, "__name__", repr(function))
    forget(name)
    _checks[name] = Check(function, name, timeout, interval)
    return function


def forget(name: str) -> None:
    """Take a check away; one that is not there is no error."""
    gone = _checks.pop(name, None)
    if gone is not None:
        gone.stop()


def start() -> None:
    """Have all checks run in this process. Cheap once they do."""
    for each in list(_checks.values()):
        each.start()


def problems() -> List[Tuple[str, str]]:
    """Return the name of each check and why it is not ready, "" if it is."""
    return [(each.name, each.problem()) for each in list(_checks.values())]


def passed() -> bool:
    """Return whether all checks are ready."""
    return not any(problem for _, problem in problems())


def registered() -> int:
    """Return how many checks there are."""
    return len(_checks)
