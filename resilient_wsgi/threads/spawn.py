"""Register a background thread, and start it where it is to run."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, Optional

from .. import servers
from ..errors import ResilientError
from .background import Member
from .origin import Origin
from .placement import Placement
from .registry import registry
from .shutdown import hook_into_server


class AlreadyStopping(ResilientError, RuntimeError):
    """Raised by `spawn` and `every` when the process has been told to stop: the thread could do
    nothing.
    """


def spawn(
    fn: Callable[..., object],
    *args: Any,
    name: Optional[str] = None,
    group: str = "default",
    where: str = "workers",
    on_stop: Optional[Callable[[], object]] = None,
    **kwargs: Any,
) -> Member:
    """Run `fn(*args, **kwargs)` in a background thread of each process in which it belongs; return
    its handle.

    Called in a master before the fork it starts nothing there: the thread is started once in each
    worker after it. `where` is `workers` (all, the default), `one` (one worker of the instance;
    another takes over when that one dies), `mules`, `spoolers`, `worker:<n>`, `mule:<n>`, or
    `farm:<name>` (uWSGI's mules of that farm). A process without a master runs it whatever `where`
    says.

    The thread is told to stop when its process is: `sleep()` returns at once, `stopping()` and
    `stop_event` say so, and `on_stop`, if given, is called from another thread. Groups are told one
    after the other, the latest registered first. It does not keep its process alive, and one that
    has not ended within THREADS.GRACE is left behind and named in the log.

    Raises `TypeError` if `fn` or `on_stop` cannot be called, `ValueError` for a `where` that is not
    known or that the instance does not have, and for the name of a registered thread that has not
    ended, `AlreadyStopping` in a process that was told to stop.
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
) -> Member:
    """Do what `spawn` and `every` have in common."""
    if name is not None and (not isinstance(name, str) or not name):
        msg = f"the name of a background thread is a string that is not empty; got {name!r}"
        raise ValueError(msg)
    placement = Placement(where)
    if registry.stopping:
        msg = f"{name or stem!r} was not started: this process has been told to stop ({registry.reason})"
        raise AlreadyStopping(msg)
    hook_into_server()
    member = Member(
        name or registry.free_name(stem),
        run,
        group=group,
        placement=placement,
        on_stop=on_stop,
        origin=origin,
    )
    registry.add(member)
    if placement.matches(servers.detect().identity()):
        member.start()
    return member


def stem(fn: Callable[..., object]) -> str:
    """Return the name of a function, to make the name of its thread from."""
    return getattr(fn, "__qualname__", None) or type(fn).__name__


def _caller() -> Origin:
    return Origin(sys._getframe(2))  # the caller of spawn; a traceback costs ten times as much
