"""Bound the exit of the processes of a server, and adopt the threads of the app."""

from __future__ import annotations

from typing import List, Optional, Sequence

from .. import servers
from ..component import Component, Context
from ..settings import options as settings
from ..settings.options import AUTO, REPORT
from . import adoption, finalization, fork, shutdown


class Threads(Component[settings.Threads]):
    """Every worker ends when it is told to, and no thread is lost on the way in."""

    name = "threads"
    patches_pass = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options: Optional[settings.Threads] = None

    def install(self, options: settings.Threads) -> Sequence[str]:
        """Bound the exit of this process and its children, and adopt threads.

        Celery's worker and Django's runserver are servers, too. In a process without one nothing of
        the interpreter is touched unless THREADS.ADOPT is True: there a non-daemon thread may well
        be the one that does the work. Registered threads are stopped everywhere.
        """
        self._options = options
        servers.on_change(self._install_again)
        in_server = self.context.server.name != "plain"
        adopting = options.adopt is True or (options.adopt == AUTO and in_server)
        bounding = options.mode != REPORT and (adopting or in_server)
        if adopting:
            adoption.install()
        else:
            adoption.uninstall()
        fork.configure(options.restart if options.mode != REPORT else (), remembering=bounding)
        shutdown.bound(options, bounding=bounding)
        return _how(options, adopting=adopting, bounding=bounding)

    def uninstall(self) -> None:
        """Give `threading` back what is its own.

        Registered threads go on, and are stopped with their process.
        """
        self._options = None
        adoption.uninstall()
        fork.configure(())
        shutdown.unbound()

    def _install_again(self) -> None:
        """Install for the server that this process turned out to belong to."""
        if self._options is not None:
            self.install(self._options)


def _how(options: settings.Threads, *, adopting: bool, bounding: bool) -> List[str]:
    how = ["threading.Thread.start"] if adopting else []
    if bounding and finalization.missing():
        how.append(f"exit NOT bounded: this Python has no {finalization.missing()}")
    elif bounding and options.grace == AUTO:
        how.append(
            "exit bounded to 1 s and what the server's mercy allows for the work of requests"
        )
    elif bounding:
        how.append(f"exit bounded to {options.grace:g} s")
    return how or ["registered threads only"]


def install(options: Optional[settings.Threads] = None) -> Sequence[str]:
    """Bound the exit of this process and its children, and adopt threads; return how.

    `resilient_wsgi.install()` does this with the settings; this is for those who want nothing else.
    """
    return Threads.here().install(settings.Threads() if options is None else options)


def uninstall() -> None:
    """Give `threading` back what is its own.

    Registered threads go on, and are stopped with their process.
    """
    Threads.here().uninstall()
