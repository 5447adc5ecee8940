"""Register a background thread, and start it in the processes that run it."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, Optional

from .. import servers
from ..errors import ResilientError
from .background import BackgroundThread, Placement
from .component import Threads
from .origin import Origin
from .registered import registry


class AlreadyStopping(ResilientError, RuntimeError):
    """Raised by `spawn` and `every` after the process was notified to stop."""


def spawn(
    fn: Callable[..., object],
    *args: Any,
    name: Optional[str] = None,
    group: str = "default",
    where: str = "workers",
    on_stop: Optional[Callable[[], object]] = None,
    **kwargs: Any,
) -> BackgroundThread:
    """Run `fn(*args, **kwargs)` in a background thread of each matching process; return its handle.

    Called in a master before the fork, it starts nothing there: each worker starts the thread once
    after the fork. `where` is `workers` (all, the default), `one` (one worker of the instance;
    another takes over when that one dies), `mules`, `spoolers`, `worker:<n>`, `mule:<n>`, or
    `farm:<name>` (uWSGI's mules of that farm). A process without a master ignores `where` and
    always runs the thread.

    When its process stops, the thread is notified: `sleep()` returns at once, `stopping()` and
    `stop_event` become true, and `on_stop`, if given, is called from another thread. Groups are
    notified one after the other, the latest registered first. The thread does not keep its process
    alive: if it has not ended within THREADS.GRACE it is abandoned and named in the log.

    Raises `TypeError` if `fn` or `on_stop` is not callable; `ValueError` if `where` is not known or
    does not exist in the instance, or a registered thread of that name has not ended; and
    `AlreadyStopping` in a process that was notified to stop.
    """
    for what, value in (("fn", fn), ("on_stop", on_stop)):
        if not callable(value) and (what == "fn" or value is not None):
            msg = f"spawn() takes a callable as {what}; got {value!r}"
            raise TypeError(msg)
    run = functools.partial(fn, *args, **kwargs)
    return register(
        run, stem=stem(fn), name=name, group=group, where=where, on_stop=on_stop, origin=_caller()
    )


def register(
    run: Callable[[], object],
    *,
    stem: str,
    name: Optional[str],
    group: str,
    where: str,
    on_stop: Optional[Callable[[], object]],
    origin: Origin,
) -> BackgroundThread:
    """Register a thread and start it here if its placement matches: for `spawn` and `every`."""
    if name is not None and (not isinstance(name, str) or not name):
        msg = f"the name of a background thread must be a non-empty string; got {name!r}"
        raise ValueError(msg)
    placement = Placement(where)
    if registry.stopping:
        why = f"this process has been notified to stop ({registry.reason})"
        msg = f"{name or stem!r} was not started: {why}"
        raise AlreadyStopping(msg)
    Threads.here().stop_with_server()
    thread = BackgroundThread(
        name or registry.free_name(stem),
        run,
        group=group,
        placement=placement,
        on_stop=on_stop,
        origin=origin,
    )
    registry.add(thread)
    if placement.matches(servers.detect().identity()):
        thread.start()
    return thread


def stem(fn: Callable[..., object]) -> str:
    """Return the name of a function, from which the name of its thread is derived."""
    return getattr(fn, "__qualname__", None) or type(fn).__name__


def _caller() -> Origin:
    return Origin(sys._getframe(2))  # the caller of spawn; a traceback costs ten times as much
