"""What went wrong in a load: the last exception whose traceback the server printed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Type

from ..core.patching import Patches
from ..core.text import one_line

if TYPE_CHECKING:
    from mmap import mmap

_Hook = Callable[[Type[BaseException], BaseException, Optional[TracebackType]], Any]

# Memory to report with when the load has used up all there is. CPython takes 1 MiB at once for its
# small objects (256 KiB before 3.10), glibc 1 MiB for the others if the heap cannot grow; the rest
# is for what is large.
RESERVE_BYTES = 2560 * 1024
# of which uWSGI has handlers (core/uwsgi.c, uwsgi_segfault, uwsgi_fpe)
CRASHES = (signal.SIGSEGV, signal.SIGFPE)


class LastError:
    """The last exception that `sys.excepthook` was called with, and what is needed to report it.

    uWSGI calls that hook for each load that fails with an exception (`PyErr_Print`). A worker
    inherits what its master has seen.
    """

    def __init__(self) -> None:
        self._patches = Patches(passing=True)
        self.text = ""  # the exception in one line
        self._reserve: List[mmap] = []
        self._stderr = -1  # a second descriptor of standard error

    def __repr__(self) -> str:
        return f"<LastError {self.text!r}>"

    def watch(self) -> None:
        """Have `sys.excepthook` note its exceptions here, then do what it did before."""
        self._patches.wrap(sys, "excepthook", self._noting)
        if self._stderr < 0:
            with contextlib.suppress(OSError):
                self._stderr = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)

    def unwatch(self) -> None:
        """Restore `sys.excepthook`."""
        self._patches.restore()

    def keep_reserve(self) -> None:
        """Set memory aside for the report of a load that uses up all of it: addresses, which
        RLIMIT_AS counts, but no pages. Where there is none to set aside, the load may still work.
        """
        # only where it is used: of the processes that import this module, few load an app
        from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

        if not self._reserve:
            with contextlib.suppress(OSError):
                self._reserve.append(mmap(-1, RESERVE_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS))

    def release_reserve(self) -> None:
        """Return that memory to the allocator."""
        self._reserve.clear()

    def mend_stderr(self) -> None:
        """Reopen this process's standard error if the app has closed it during its load."""
        with contextlib.suppress(OSError):
            os.fstat(2)
            return
        if self._stderr >= 0:
            with contextlib.suppress(OSError):
                os.dup2(self._stderr, 2)

    def _noting(self, before: _Hook) -> _Hook:
        def excepthook(
            kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
        ) -> None:
            self.release_reserve()
            self.mend_stderr()
            try:
                self.text = one_line(traceback.format_exception_only(kind, error)[-1])
            except MemoryError:
                self.text = "MemoryError"
            before(kind, error, trace)

        return excepthook


def crashing() -> int:
    """Return the number of the signal by which this thread has crashed and in whose handler it is,
    0 if it has not.

    uWSGI's handlers of two such signals call `exit()`; the signal that they send to end the process
    is blocked meanwhile.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return next((int(number) for number in CRASHES if number in blocked), 0)


LAST_ERROR = LastError()  # of this process, as there is one `sys.excepthook`
