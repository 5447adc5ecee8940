"""What went wrong when an app was loaded: the last exception that the server printed in this
process.
"""

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

_patches = Patches(passing=True)
_last = ""
# What is left to work with when the load has used up all memory; given back as soon as it is over.
# CPython takes 1 MiB at once for its small objects (256 KiB before 3.10), glibc 1 MiB for the
# others if the heap cannot grow; the rest is for what is large.
_reserve: List[mmap] = []
RESERVE_BYTES = 2560 * 1024
# of which uWSGI has handlers (core/uwsgi.c, uwsgi_segfault, uwsgi_fpe)
CRASHES = (signal.SIGSEGV, signal.SIGFPE)
_stderr: List[int] = []  # a second descriptor of standard error


def watch() -> None:
    """Have `sys.excepthook` tell us. uWSGI calls it for each load that fails with an exception
    (`PyErr_Print`).
    """
    _patches.wrap(sys, "excepthook", _noting)
    if not _stderr:
        with contextlib.suppress(OSError):
            _stderr.append(fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3))


def unwatch() -> None:
    """Put back what was there before."""
    _patches.restore()


def keep_reserve() -> None:
    """Put some memory aside: addresses, which RLIMIT_AS counts, but no pages.

    Where there is none, the load may still do.
    """
    from mmap import (  # only where it is used: of those that import us, few load an app
        MAP_ANONYMOUS,
        MAP_PRIVATE,
        mmap,
    )

    if not _reserve:
        with contextlib.suppress(OSError):
            _reserve.append(mmap(-1, RESERVE_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS))


def release_reserve() -> None:
    """Give it back to the allocator."""
    _reserve.clear()


def last() -> str:
    """Return the exception of the last traceback that this process (or the master before it)
    printed, in one line, "" if there was none.
    """
    return _last


def crashing() -> int:
    """Return the number of the signal in whose handler this thread is, by which it has crashed; 0
    if it has not.

    uWSGI's handlers of two such signals come to `exit()`: the one that they send to end the process
    is blocked meanwhile.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return next((int(number) for number in CRASHES if number in blocked), 0)


def mend_stderr() -> None:
    """Give this process its standard error back if the app has closed it while it was loaded."""
    with contextlib.suppress(OSError):
        os.fstat(2)
        return
    if _stderr:
        with contextlib.suppress(OSError):
            os.dup2(_stderr[0], 2)


def _noting(before: _Hook) -> _Hook:
    def excepthook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        global _last
        release_reserve()
        mend_stderr()
        try:
            _last = one_line(traceback.format_exception_only(kind, error)[-1])
        except MemoryError:
            _last = "MemoryError"
        before(kind, error, trace)

    return excepthook
