"""Limit the exit of the processes of a server, and adopt the threads of the app."""

from __future__ import annotations

from typing import List, Optional, Sequence

from .. import servers
from ..component import Component, Context
from ..settings import options as settings
from ..settings.options import AUTO, REPORT


class Threads(Component[settings.Threads]):
    """Waits for threads: every worker exits in time, and every thread runs where it should."""

    name = "threads"
    patches_pass = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options: Optional[settings.Threads] = None
        self._touches_interpreter = False

    def install(self, options: settings.Threads) -> Sequence[str]:
        """Limit the exit of this process and its children, and adopt threads; return how.

        Celery's worker and Django's runserver are servers, too. In a process without a server the
        interpreter is left alone unless THREADS.ADOPT is True: a non-daemon thread may well do the
        work there. Registered threads are stopped everywhere.
        """
        self._options = options
        servers.on_change(self._install_again)
        in_server = self.context.server.name != "plain"
        adopting = options.adopt is True or (options.adopt == AUTO and in_server)
        limited = options.mode != REPORT and (adopting or in_server)
        if not (in_server or adopting or self._touches_interpreter):
            return ["registered threads only"]  # `spawn` does the rest if the app calls it
        self._touches_interpreter = True
        from . import adoption, fork
        from .shutdown import shutdown

        if adopting:
            adoption.install()
        else:
            adoption.uninstall()
        fork.configure(options.restart if options.mode != REPORT else (), remember=limited)
        shutdown.configure(options, limited=limited)
        return _how(options, adopting=adopting, limited=limited)

    def stop_with_server(self) -> None:
        """Have registered threads stop with this process. Idempotent."""
        from .shutdown import shutdown

        if not self._touches_interpreter:
            shutdown.configure(self._options or settings.Threads(), limited=False)
        shutdown.hook_into_server()

    def uninstall(self) -> None:
        """Restore `threading`. Registered threads go on, and are stopped with their process."""
        self._options = None
        if self._touches_interpreter:
            from . import adoption, fork
            from .shutdown import shutdown

            adoption.uninstall()
            fork.configure(())
            shutdown.reset()

    def _install_again(self) -> None:
        """Install for the server that this process turned out to belong to."""
        if self._options is not None:
            self.install(self._options)


def _how(options: settings.Threads, *, adopting: bool, limited: bool) -> List[str]:
    from .exit_timeouts import GRACE_SECONDS
    from .finalization import finalization

    how = ["threading.Thread.start"] if adopting else []
    if limited and finalization.missing:
        how.append(f"exit NOT limited: this Python has no {finalization.missing}")
    elif limited and options.grace == AUTO:
        how.append(
            f"exit limited to {GRACE_SECONDS:g} s, "
            "plus what the server's mercy allows for the work of requests"
        )
    elif limited:
        how.append(f"exit limited to {options.grace:g} s")
    return how or ["registered threads only"]


def install(options: Optional[settings.Threads] = None) -> Sequence[str]:
    """Limit the exit of this process and its children, and adopt threads; return how.

    `resilient_wsgi.install()` does this with the settings; call this to install nothing else.
    """
    return Threads.here().install(settings.Threads() if options is None else options)


def uninstall() -> None:
    """Restore `threading`. Registered threads go on, and are stopped with their process."""
    Threads.here().uninstall()
