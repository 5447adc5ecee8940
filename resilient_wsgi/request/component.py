"""What `wrap()` puts around an app, and what each worker has beside it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, Tuple

from ..component import Component, Context, Layer
from ..core import frames
from ..errors import Unavailable
from ..servers.base import PROCESS
from ..settings import options as settings
from ..settings.options import AUTO, OFF, REPORT
from .budget import Budget
from .client import ClientGoneMiddleware
from .middleware import DeadlineMiddleware
from .running import running

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from ..servers import Server
    from .worker_parts import WorkerParts

_GONE = {AUTO: AUTO, True: "on", False: "off"}
FIXED = 4  # of what `install` returns, so much does not depend on the process
NO_APP = "no app is wrapped (INSTALLED_APPS or wrap())"


class Request(Component[settings.Request]):
    """Each request has a deadline, a watchdog looks after it, and no work is done for clients that
    are gone.
    """

    name = "request"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.parts: Optional[WorkerParts] = None
        # what `parts` is made of, as soon as it is wanted
        self._wanted: Optional[Tuple[settings.Request, Server]] = None
        # whether an app was wrapped in this process or before its fork, or will be (Django's
        # handler): without one there is nothing to watch
        self.wrapped = False
        self._how: Tuple[str, ...] = ()

    def install(self, options: settings.Request) -> Sequence[str]:
        """Return what is done in the apps that are wrapped: `wrap()` and the Django app put it in
        place.

        Called again, it changes what is beside the apps; what is around them stays as it was when
        they were wrapped.
        """
        server = self.context.server
        budget = Budget(options, server)
        if self.wrapped:
            self._watch(options, budget)
        self._how = (
            "in wrapped apps",
            budget.in_words(),
            f"clients that are gone: {_GONE[options.client_gone]}",
            f"watchdog: {'on' if self._watching(options, budget) else 'not needed'}",
            *self._waits(options, budget),
            self._stacks(options),
        )
        return self._how

    def uninstall(self) -> None:
        """End the watchdog and all that is beside it.

        Middleware stays around the app that it was put around.
        """
        if self._wanted is not None:
            self.context.server.hooks.forget(self._start)
            self.context.server.hooks.forget(self._stop)
            self._stop()
            running.budget = None
        self.parts = self._wanted = None

    def layer(self, options: settings.Request) -> Layer:
        """Give each request its deadline; each worker gets what that needs beside it."""
        server = self.context.server
        budget = Budget(options, server)
        looks = options.client_gone is True or (
            options.client_gone == AUTO and not server.connections.all_clients_may_half_close()
        )
        self.wrapped = True
        self._watch(options, budget)
        gone = functools.partial(ClientGoneMiddleware, options=options, server=server)
        return Layer(
            gate=gone if looks else None,
            around=functools.partial(_with_deadline, options=options, budget=budget),
        )

    def status(self) -> Sequence[str]:
        """Return what is done, and what of it this process must do without."""
        if self.unwrapped():
            return (f"{NO_APP}: no deadline, no watchdog, no stacks on demand",)
        if self.parts is None:
            return self._how
        options = self.parts.options
        lines = [*self._how[:FIXED], *self._waits(options, Budget(options, self.context.server))]
        lines.append(self._stacks(options))
        if self.parts.unshared:
            lines.append(f"killed workers are not reported: {self.parts.unshared}")
        return lines

    def verbs(self) -> Mapping[str, str]:
        """Return the verbs of the command line that belong to it."""
        return {"stacks": "cli.stacks"}

    def expect_apps(self) -> None:
        """Have workers get what is beside apps although none is wrapped yet: Django's handler is,
        later.
        """
        self.wrapped = True

    def unwrapped(self) -> bool:
        """Return whether this is a worker whose load is over, and that has wrapped no app."""
        return not self.wrapped and self.context.server.load_is_over()

    def _watch(self, options: settings.Request, budget: Budget) -> None:
        """Have each worker get what it needs: one for all wrapped apps, by the options of the
        last.
        """
        server = self.context.server
        if self._wanted == (options, server):
            return
        self.uninstall()
        running.budget = budget
        self._wanted = options, server
        if server.name != "plain":
            # imported in the master, whose memory the workers share; a script or a management
            # command, which serves no requests, has no use for it
            self._made(options, server)
        server.hooks.serving.add(self._start)
        server.hooks.stop.add(self._stop)

    def _start(self) -> None:
        if self._wanted is not None:
            self._made(*self._wanted).start()

    def _stop(self) -> None:
        if self.parts is not None:
            self.parts.stop()

    def _made(self, options: settings.Request, server: Server) -> WorkerParts:
        if self.parts is None:
            from .worker_parts import WorkerParts

            watching = self._watching(options, Budget(options, server))
            self.parts = WorkerParts(
                options, server, watching=watching, announcer=lambda: self.context.announce
            )
        return self.parts

    def _waits(self, options: settings.Request, budget: Budget) -> Sequence[str]:
        """Return which waits are ended at the deadline in this process, or why only some are."""
        # without parts, as in a management command, it is not worth the import
        if self.parts is None or not self._watching(options, budget) or options.mode == REPORT:
            return ()
        from . import ended_waits

        if options.end_waits != ended_waits.SOCKETS:
            return (ended_waits.KNOWN_ALONE,)
        reason = ended_waits.why_not(options)
        if reason:
            return (f"{ended_waits.KNOWN_ALONE}: {reason}",)
        return ("waits for any socket are ended at the deadline",)

    def _watching(self, options: settings.Request, budget: Budget) -> bool:
        watched = isinstance(options.slow_after, (int, float)) or options.gil_timeout is not None
        # of threads, which need an instance of a server
        shares = (
            self.settings[settings.Bulkhead].mode != OFF and self.context.server.name != "plain"
        )
        return budget.limited or watched or shares or options.client_left != OFF

    def _stacks(self, options: settings.Request) -> str:
        """Return how stacks can be seen in this process, or why they cannot."""
        server = self.context.server
        reason = frames.why_not()
        if reason:
            from .worker_parts import NO_FRAMES

            return f"{NO_FRAMES}: {reason}"
        if server.identity().role == PROCESS:
            return "no stacks on demand: this process is no worker of uWSGI or gunicorn"
        answering = self.parts.stacks if self.parts is not None else None
        if answering is not None and answering.no_socket:
            return f"no stacks on demand: {answering.no_socket}"
        return f"stacks on demand: from a thread of Python, {_last_resort(options, server)}"


def _with_deadline(
    app: WSGIApplication, *, options: settings.Request, budget: Budget
) -> WSGIApplication:
    return DeadlineMiddleware(
        app,
        seconds=budget.usual,
        granted=budget.by_request,
        enforced=options.mode != REPORT,
        watch_client=options.client_left != OFF,
        soft=options.soft_timeout,
    ).__call__  # the method, bound: Python calls it three times as fast as the object


def _last_resort(options: settings.Request, server: Server) -> str:
    from .stacks_on_demand import usable

    name = options.stacks_signal
    try:
        if name is not None and usable(name, server):
            return f"{name} where none answers"
    except Unavailable as unusable:
        return f"no signal: {unusable}"
    return "no signal"


def install(options: Optional[settings.Request] = None) -> Sequence[str]:
    """Have apps that are wrapped get what these options say; return it in words.

    `resilient_wsgi.install()` does this with the settings; this is for those who want nothing else.
    """
    return Request.here().install(settings.Request() if options is None else options)


def uninstall() -> None:
    """End the watchdog and all that is beside it.

    Middleware stays around the app that it was put around.
    """
    Request.here().uninstall()


def status_lines() -> Sequence[str]:
    """Return what is done, and what of it this process must do without."""
    return Request.here().status()
