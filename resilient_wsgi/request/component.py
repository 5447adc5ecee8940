"""What `wrap()` puts around an app, and what each worker has beside it."""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence, Tuple

from .. import servers
from ..core import frames
from ..errors import Unavailable
from ..overload.middleware import QueueMiddleware
from ..servers import Server
from ..servers.base import PROCESS
from ..settings.options import OFF, ON, REPORT, Request
from .budget import Budget
from .client_gone import ClientGoneMiddleware
from .deadline import DeadlineMiddleware
from .on_demand import usable
from .process import NO_FRAMES, Process
from .running import running

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_process: Optional[Process] = None
_means: Tuple[str, ...] = ()
NO_APP = "no app is wrapped (INSTALLED_APPS or wrap())"
_wrapped = False  # whether an app was wrapped: without one there is nothing to watch


class Around(NamedTuple):
    """An app with its deadline, and what looks at a request before it does: None where there is
    nothing to look at.
    """

    client_gone: Optional[ClientGoneMiddleware]
    queue: Optional[QueueMiddleware]
    app: WSGIApplication


def around(app: WSGIApplication, options: Request) -> Around:
    """Return what is to be put around an app; each worker gets what that needs beside it."""
    server = servers.detect()
    looks = options.client_gone == ON or (
        options.client_gone != OFF and not server.all_clients_may_half_close()
    )
    queues = options.shed != OFF or options.router_timeout is not None
    budget = Budget(options, server)
    inner = DeadlineMiddleware(
        app,
        seconds=budget.usual,
        granted=budget.by_request,
        enforced=options.mode != REPORT,
        watch_client=options.client_left != OFF,
        soft=options.soft_timeout == ON,
    ).__call__  # the method, bound: Python calls it three times as fast as the object
    global _wrapped
    _wrapped = True
    _watch(options, server, budget)
    return Around(
        ClientGoneMiddleware(app, options, server) if looks else None,
        QueueMiddleware(app, options, server, memory=_memory) if queues else None,
        inner,
    )


def install(options: Optional[Request] = None) -> Sequence[str]:
    """Return what is done in the apps that are wrapped: `wrap()` and the Django app put it in
    place.

    Called again, it changes what is beside the apps; what is around them stays as it was when they
    were wrapped.
    """
    options = options or Request()
    server = servers.detect()
    budget = Budget(options, server)
    if _wrapped:
        _watch(options, server, budget)
    global _means
    _means = (
        "in wrapped apps",
        budget.in_words(),
        f"clients that are gone: {options.client_gone}",
        f"watchdog: {'on' if _watching(options, budget) else 'not needed'}",
        _queue(options),
        _stacks(options, server),
    )
    return _means


def expect_apps() -> None:
    """Have workers get what is beside apps although none is wrapped yet: Django's handler is,
    later.
    """
    global _wrapped
    _wrapped = True


def wrapped() -> bool:
    """Return whether an app was wrapped in this process or before its fork, or will be: Django's
    handler.
    """
    return _wrapped


def unwrapped(server: Server) -> bool:
    """Return whether this is a worker whose load is over, and that has wrapped no app."""
    return not _wrapped and server.load_is_over()


def status_lines() -> Sequence[str]:
    """Return what is done, and what of it this process must do without."""
    if unwrapped(servers.detect()):
        return (f"{NO_APP}: no deadline, no watchdog, no stacks on demand",)
    if _process is None:
        return _means
    lines = [*_means[:-1], _stacks(_process.options, _process.server)]
    if _process.unshared:
        lines.append(f"killed workers are not reported: {_process.unshared}")
    return lines


def _memory() -> Optional[mmap]:
    shared = None if _process is None else _process.shared
    return None if shared is None else shared.memory


def uninstall() -> None:
    """End the watchdog and all that is beside it.

    Middleware stays around the app that it was put around.
    """
    global _process
    if _process is not None:
        servers.detect().forget(_process.start)
        servers.detect().forget(_process.stop)
        _process.stop()
        _process = None
        running.budget = None


def _watching(options: Request, budget: Budget) -> bool:
    watched = options.slow_after is not None or options.gil_timeout is not None
    return budget.limited or watched or options.client_left != OFF


def _watch(options: Request, server: Server, budget: Budget) -> None:
    """Have each worker get what it needs: one for all wrapped apps, by the options of the last."""
    global _process
    if _process is not None and _process.options == options and _process.server is server:
        return
    uninstall()
    running.budget = budget
    _process = Process(options, server, watching=_watching(options, budget))
    server.on_worker_serving(_process.start)
    server.on_worker_stop(_process.stop)


def _queue(options: Request) -> str:
    if options.shed == OFF and options.router_timeout is None:
        return "time in the queue: not looked at"
    return f"time in the queue: by {options.queue_header}, which the router must set"


def _stacks(options: Request, server: Server) -> str:
    """Return how stacks can be seen in this process, or why they cannot."""
    reason = frames.why_not()
    if reason:
        return f"{NO_FRAMES}: {reason}"
    if server.identity().role == PROCESS:
        return "no stacks on demand: this process is no worker of uWSGI or gunicorn"
    if _process is not None and _process.stacks is not None and _process.stacks.no_socket:
        return f"no stacks on demand: {_process.stacks.no_socket}"
    name = options.stacks_signal
    try:
        last = (
            f"{name} where none answers"
            if name is not None and usable(name, server)
            else "no signal"
        )
    except Unavailable as unusable:
        last = f"no signal: {unusable}"
    return f"stacks on demand: from a thread of Python, {last}"
