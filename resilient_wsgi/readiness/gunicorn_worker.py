"""`load()` under gunicorn, which halts the whole server when one worker fails to boot.

There the failure is kept from it: the worker pauses, telling gunicorn that it lives, and ends with
another code, for which the arbiter starts a fresh one. Where a load was killed, the worker that
takes its place pauses before its own. Only if no worker ever loaded, the exception goes through,
and the server halts as ever. What `preload_app` loads in the arbiter is not touched: there is
nobody who could start it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, Tuple

from .. import events
from ..core import frames
from ..core.system import SYSTEM, System
from ..core.text import REASON_LIMIT, one_line, printable
from ..errors import Unavailable
from ..host import procfs
from ..servers.gunicorn import Boot
from ..settings.options import OFF, REPORT, Readiness
from ..shm import instance
from ..shm.space import allocate
from .board import Board
from .load_policy import KILLED, LoadPolicy

NOTIFY_EVERY = 0.5
MOST_BYTES = 1 << 16
MOST_FAILURES = 1 << 30
NAME = "loads"


def attempt(
    find: Callable[[], Any], boot: Boot, options: Readiness, system: System = SYSTEM
) -> Any:
    """Return what `find` returns; where it fails, pause and end this worker, or raise if that is
    hopeless.
    """
    if options.mode in (OFF, REPORT):
        return find()
    tally = Tally(system.getpid())
    if tally.begin():
        _sit_out(RuntimeError(KILLED), tally, boot, options, system)
    limit = LoadPolicy(Board(1), options).limit()
    if limit:  # gunicorn's own `timeout` begins with the first notify(), after the load
        frames.end_later(limit, 2)
    try:
        app = find()
    except (Exception, SystemExit) as error:
        _disarm(limit)
        tally.end()
        if boot.shows_syntax_errors and isinstance(error, SyntaxError):
            raise
        _sit_out(error, tally, boot, options, system)
        system.exit(boot.exit_code)
    _disarm(limit)
    tally.end(loaded=True)
    return app


def _disarm(limit: float) -> None:
    if limit:
        frames.cancel_end()


def _sit_out(
    error: BaseException, tally: Tally, boot: Boot, options: Readiness, system: System
) -> None:
    """Tell of a failure and pause; raise it if none ever loaded after all tries.

    Ends this worker if it is told to stop.
    """
    failures, ever = tally.add_failure()
    if not ever and failures >= options.attempts * boot.workers:
        raise error
    if error.__traceback__ is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    pause = LoadPolicy(Board(1), options).pause(1 + (failures - 1) // boot.workers)
    events.emit(
        events.LoadFailed(
            boot.worker,
            printable(one_line(f"{type(error).__name__}: {error}"), REASON_LIMIT),
            failures,
            pause,
        )
    )
    end = system.monotonic() + pause
    while system.monotonic() < end:
        if not boot.wanted():
            system.exit(boot.exit_code)
        boot.notify()
        system.sleep(NOTIFY_EVERY)


class Tally:
    """How many loads failed in a row in the workers of one arbiter, whether one ever succeeded, and
    who loads: in a file.

    Nothing else survives a worker of gunicorn that the app could reach. Without one of our own,
    failures count as hopeless at once: gunicorn halts as it would without us.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def begin(self) -> bool:
        """Note that this process loads.

        Return whether one is gone that had begun and not ended: each is told once.
        """
        with self._state() as state:
            loading = state["loading"]
            gone = [pid for pid, when in loading.items() if procfs.start(int(pid)) != when]
            for pid in gone[:1]:
                del loading[pid]
            loading[str(self._pid)] = procfs.start(self._pid)
            return bool(gone)

    def end(self, *, loaded: bool = False) -> None:
        """Note that the load of this process is over."""
        with self._state() as state:
            state["loading"].pop(str(self._pid), None)
            if loaded:
                state.update(failures=0, ever=True)

    def add_failure(self) -> Tuple[int, bool]:
        """Count one; return how many in a row and whether any load ever succeeded."""
        with self._state() as state:
            state["failures"] += 1
            return state["failures"], state["ever"]

    @contextlib.contextmanager
    def _state(self) -> Iterator[Dict[str, Any]]:
        """Read it, have it changed, write it, with the others kept out; nothing is kept where there
        is no file.
        """
        try:
            fd = instance.directory().open(NAME, os.O_RDWR | os.O_CREAT)
        except (OSError, Unavailable):
            yield _fresh(failures=MOST_FAILURES)
            return
        try:
            if not _locked(fd):  # its holder is stopped, or the machine is
                yield _fresh()
                return
            state = _read(fd)
            yield state
            with contextlib.suppress(OSError):  # a full disk
                text = json.dumps(state).encode()
                allocate(fd, len(text))
                os.ftruncate(fd, os.pwrite(fd, text, 0))
        finally:
            os.close(fd)


def _fresh(failures: int = 0) -> Dict[str, Any]:
    return {"failures": failures, "ever": False, "loading": {}}


def _read(fd: int) -> Dict[str, Any]:
    state = _fresh()
    with contextlib.suppress(ValueError):  # its writer was killed in the middle
        state.update(json.loads(os.pread(fd, MOST_BYTES, 0)))
    return state


def _locked(fd: int) -> bool:
    """Take the lock, waiting for at most a second: others hold it for microseconds."""
    for _ in range(100):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.01)
    return False
