"""What went wrong when an app was loaded: the last exception that the server printed in this process."""

from __future__ import annotations

import contextlib
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Type

if TYPE_CHECKING:
    from mmap import mmap

_Hook = Callable[[Type[BaseException], BaseException, Optional[TracebackType]], Any]

_before: Optional[_Hook] = None
_last = ""
# What is left to work with when the load has used up all memory; given back as soon as it is over. CPython takes 1 MiB at once
# for its small objects (256 KiB before 3.10), glibc 1 MiB for the others if the heap cannot grow; the rest is for what is large.
_reserve: List[mmap] = []
RESERVE_BYTES = 2560 * 1024


def watch() -> None:
    """Have `sys.excepthook` tell us. uWSGI calls it for each load that fails with an exception (`PyErr_Print`)."""
    global _before
    if _before is None:
        _before, sys.excepthook = sys.excepthook, _excepthook


def unwatch() -> None:
    """Put back what was there before, unless somebody else has set another one meanwhile."""
    global _before
    if _before is not None and sys.excepthook is _excepthook:
        sys.excepthook = _before
        _before = None


def keep_reserve() -> None:
    """Put some memory aside: addresses, which RLIMIT_AS counts, but no pages. Where there is none, the load may still do."""
    from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap  # only where it is used: of those that import us, few load an app

    if not _reserve:
        with contextlib.suppress(OSError):
            _reserve.append(mmap(-1, RESERVE_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS))


def release_reserve() -> None:
    """Give it back to the allocator."""
    _reserve.clear()


def last() -> str:
    """Return the last line of the traceback that this process (or the master before it) printed, "" if there was none."""
    return _last


def _excepthook(kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
    global _last
    release_reserve()
    try:
        _last = traceback.format_exception_only(kind, error)[-1].strip()
    except MemoryError:
        _last = "MemoryError"
    if _before is not None:
        _before(kind, error, trace)
