"""Put the component in place and take it away again."""

from __future__ import annotations

from typing import List, Optional, Sequence

from .. import servers
from ..settings.options import AUTO, ON, REPORT, Threads
from . import adoption as adopt, finalization, fork as ghosts, shutdown as exits


class _Chosen:
    """The options that were given last, for when the process turns out to be a server's."""

    def __init__(self) -> None:
        self.options: Optional[Threads] = None

    def install_again(self) -> None:
        if self.options is not None:
            install(self.options)


_chosen = _Chosen()


def install(options: Optional[Threads] = None) -> Sequence[str]:
    """Bound the exit of this process and its children, and adopt threads; return by which means.

    Celery's worker and Django's runserver are servers, too. In a process without one nothing of the
    interpreter is touched unless THREADS.ADOPT is `on`: there a non-daemon thread may well be the
    one that does the work. Registered threads are stopped everywhere.
    """
    options = Threads() if options is None else options
    _chosen.options = options
    servers.on_change(_chosen.install_again)
    server = servers.detect()
    adopting = options.adopt == ON or (options.adopt == AUTO and server.name != "plain")
    bounding = options.mode != REPORT and (adopting or server.name != "plain")
    if adopting:
        adopt.install()
    else:
        adopt.uninstall()
    ghosts.configure(options.restart if options.mode != REPORT else (), remembering=bounding)
    exits.bound(options, bounding=bounding)
    return _means(options, adopting=adopting, bounding=bounding)


def _means(options: Threads, *, adopting: bool, bounding: bool) -> List[str]:
    means = ["threading.Thread.start"] if adopting else []
    if bounding and finalization.missing():
        means.append(f"exit NOT bounded: this Python has no {finalization.missing()}")
    elif bounding and options.grace is None:
        means.append(
            "exit bounded to 1 s and what the server's mercy allows for the work of requests"
        )
    elif bounding:
        means.append(f"exit bounded to {options.grace:g} s")
    return means or ["registered threads only"]


def uninstall() -> None:
    """Give `threading` back what is its own.

    Registered threads go on, and are stopped with their process.
    """
    _chosen.options = None
    adopt.uninstall()
    ghosts.configure(())
    exits.unbound()
