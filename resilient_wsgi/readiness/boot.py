"""`load()` under gunicorn, which halts the whole server when one worker fails to boot.

There the failure is kept from it: the worker pauses, telling gunicorn that it lives, and ends with another code, for which
the arbiter starts a fresh one. Only if no worker ever loaded, the exception goes through, and the server halts as ever.
What `preload_app` loads in the arbiter is not touched: there is nobody who could start it anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from typing import Any, Callable, Dict, Tuple

from .. import events
from ..servers import Boot
from ..settings import OFF, REPORT, Readiness
from ..system import SYSTEM, System
from . import pace

NOTIFY_EVERY = 0.5


def attempt(find: Callable[[], Any], boot: Boot, options: Readiness, system: System = SYSTEM) -> Any:
    """Return what `find` returns; where it fails, pause and end this worker, or raise if that is hopeless."""
    tally = Tally(boot.arbiter)
    try:
        app = find()
    except (Exception, SystemExit) as error:
        failures, ever = tally.add_failure()
        hopeless = not ever and failures >= options.attempts * boot.workers
        if options.mode in (OFF, REPORT) or hopeless:
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        pause = pace.pause(1 + (failures - 1) // boot.workers, options)
        events.emit(events.LoadFailed(boot.worker, f"{type(error).__name__}: {error}", failures, pause))
        end = system.monotonic() + pause
        while boot.wanted() and system.monotonic() < end:
            boot.notify()
            system.sleep(NOTIFY_EVERY)
        system.exit(boot.exit_code)
    tally.loaded()
    return app


class Tally:
    """How many loads failed in a row in the workers of one arbiter, and whether one ever succeeded: in a file.

    Nothing else survives a worker of gunicorn that the app could reach. Two that write at once may lose a count.
    """

    def __init__(self, arbiter: int) -> None:
        self._path = os.path.join(
            tempfile.gettempdir(), f"resilient_wsgi-{os.geteuid()}-{arbiter}-{_start_time(arbiter)}"
        )

    def add_failure(self) -> Tuple[int, bool]:
        """Count one; return how many in a row and whether any load ever succeeded."""
        state = self._read()
        failures, ever = int(state.get("failures", 0)) + 1, bool(state.get("ever"))
        self._write({"failures": failures, "ever": ever})
        return failures, ever

    def loaded(self) -> None:
        """Count a success."""
        if self._read() != {"failures": 0, "ever": True}:
            self._write({"failures": 0, "ever": True})

    def _read(self) -> Dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd) as file:
                if os.fstat(fd).st_uid == os.geteuid():
                    state = json.load(file)
                    return state if isinstance(state, dict) else {}
        return {}

    def _write(self, state: Dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(state, file)


def _start_time(pid: int) -> str:
    """Return when a process was started, in the kernel's ticks: a pid may be used again."""
    return (SYSTEM.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""] * 20)[19]
