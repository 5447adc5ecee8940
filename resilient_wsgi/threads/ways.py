"""The known ways to tell a thread to stop that is not ours."""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, Optional, Sequence

Way = Callable[[], object]


def way_to_tell(thread: threading.Thread, attributes: Sequence[str] = ()) -> Optional[Way]:
    """Return a function that tells this thread to stop, None where no way is known.

    Known are `Timer`, the threads of `concurrent.futures` (queued work is cancelled, running work
    goes on), and APScheduler; and what `attributes` names, on the thread or on the object whose
    method it runs: an event, which is set, or a method, which is called.
    """
    if isinstance(thread, threading.Timer):
        return thread.cancel
    executor = executor_of(thread) or _manages(thread)
    if executor is not None:
        return functools.partial(executor.shutdown, wait=False, cancel_futures=True)
    owner = _owner(thread)
    if type(owner).__module__.partition(".")[0] == "apscheduler" and hasattr(owner, "shutdown"):
        return functools.partial(owner.shutdown, wait=False)
    for attribute in attributes:
        for bearer in (thread, owner):
            found = getattr(bearer, attribute, None)
            if callable(getattr(found, "set", None)):
                return functools.partial(found.set)  # type: ignore[union-attr]
            if callable(found):
                return functools.partial(found)
    return None


def executor_of(thread: threading.Thread) -> Optional[Any]:
    """Return the `ThreadPoolExecutor` whose thread this is, None if it is none's."""
    target = getattr(thread, "_target", None)
    if getattr(target, "__module__", None) != "concurrent.futures.thread":
        return None
    reference = getattr(thread, "_args", ())[:1]
    return reference[0]() if reference else None


def _manages(thread: threading.Thread) -> Optional[Any]:
    reference = getattr(thread, "executor_reference", None) if is_pool_manager(thread) else None
    return reference() if callable(reference) else None


def is_pool_manager(thread: threading.Thread) -> bool:
    """Return whether this is the thread by which a `ProcessPoolExecutor` manages its processes."""
    return type(thread).__module__ == "concurrent.futures.process"


def _owner(thread: threading.Thread) -> Any:
    return getattr(getattr(thread, "_target", None), "__self__", None)
