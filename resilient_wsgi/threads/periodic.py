"""Periodic work in a registered background thread."""

from __future__ import annotations

import math
import random
import sys
import time
from typing import Any, Callable, Optional, TypeVar

from ..core.log import named
from ..events import ThreadFailed, emit
from .origin import Origin
from .registered import stop_event
from .spawning import register, stem

F = TypeVar("F", bound=Callable[[], object])

CONTINUE, STOP = "continue", "stop"
BACK_OFF = 8.0  # the default of `max_pause`, in intervals
_logger = named("threads")


class Schedule:
    """When the next run is due: on a grid that begins with the first run.

    So runs neither drift nor pile up: a run that is missed because the previous one took too long
    is skipped. After failures the pause doubles, up to `max_pause`. `jitter` delays each run by a
    random time up to that many seconds and does not move the grid.
    """

    def __init__(
        self,
        seconds: float,
        jitter: float,
        max_pause: float,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._seconds = seconds
        self._jitter = jitter
        self._max_pause = max_pause
        self._random = rand
        self._due = 0.0
        self._failures = 0

    def begin(self, now: float, *, immediately: bool) -> float:
        """Return the seconds until the first run."""
        self._due = now if immediately else now + self._seconds
        return self._delay(now)

    def after(self, now: float, *, failed: bool) -> float:
        """Return the seconds until the next run, when the last one ended now."""
        self._failures = self._failures + 1 if failed else 0
        self._due += self._seconds * max(1, math.ceil((now - self._due) / self._seconds))
        if self._failures > 1:  # the first failure is tried again at the usual time
            pause = self._seconds * 2.0 ** min(self._failures - 1, 60)
            self._due = max(self._due, now + min(pause, self._max_pause))
        return self._delay(now)

    def _delay(self, now: float) -> float:
        return max(0.0, self._due - now) + self._jitter * self._random()


def every(
    seconds: float,
    *,
    jitter: float = 0.0,
    immediately: bool = False,
    on_error: str = CONTINUE,
    max_pause: Optional[float] = None,
    name: Optional[str] = None,
    group: str = "default",
    where: str = "workers",
    on_stop: Optional[Callable[[], object]] = None,
) -> Callable[[F], F]:
    """Run the decorated function every `seconds` in a background thread, until the process stops.

    The first run is after `seconds`, or at once with `immediately`. A run that takes longer than
    its interval delays the next one to the next multiple: runs neither drift nor pile up, and never
    overlap. Each is up to `jitter` seconds late, so that the workers do not all run at once. After
    an exception, which is logged, the next run follows at the usual time, then after twice the
    interval, four times, at most `max_pause` seconds (8 intervals by default), until one succeeds;
    with `on_error="stop"` the first exception ends it.

    `name`, `group`, `where` and `on_stop` are as for `spawn`; `where="one"` runs it in one worker
    of the instance. The function is returned unchanged. Raises `TypeError` if it is not callable,
    and `ValueError` for an interval that is not positive, a negative jitter or pause, an unknown
    `on_error`, and whatever `spawn` raises it for.
    """
    _check(seconds, jitter, max_pause, on_error)
    limit = BACK_OFF * seconds if max_pause is None else max_pause
    origin = Origin(sys._getframe(1))

    def decorate(fn: F) -> F:
        if not callable(fn):
            msg = f"@every({seconds:g}) decorates a function; got {fn!r}"
            raise TypeError(msg)
        schedule = Schedule(seconds, jitter, limit)
        label = name or stem(fn)

        def loop() -> None:
            pause = schedule.begin(time.monotonic(), immediately=immediately)
            while not stop_event.wait(pause):
                failed = not _succeeds(fn, label, on_error)
                pause = schedule.after(time.monotonic(), failed=failed)

        register(
            loop, stem=label, name=name, group=group, where=where, on_stop=on_stop, origin=origin
        )
        return fn

    return decorate


def _succeeds(fn: Callable[[], object], label: str, on_error: str) -> bool:
    try:
        fn()
    except Exception as error:
        if on_error == STOP:
            raise
        _logger.exception("[RW506] periodic work %r failed", label)
        emit(ThreadFailed(label, f"{type(error).__name__}: {error}"))
        return False
    return True


def _check(seconds: Any, jitter: Any, max_pause: Any, on_error: str) -> None:
    for what, value, least in (
        ("interval", seconds, 0.0),
        ("jitter", jitter, None),
        ("max_pause", max_pause, None),
    ):
        if value is None and what == "max_pause":
            continue
        number = (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
        if not number or value < 0 or value == least:
            bound = "above 0" if least == 0.0 else "0 or more"
            msg = f"every(): the {what} is a number of seconds, {bound}; got {value!r}"
            raise ValueError(msg)
    if on_error not in (CONTINUE, STOP):
        msg = f"every(): on_error={on_error!r} is not known: it takes {CONTINUE} | {STOP}"
        raise ValueError(msg)
