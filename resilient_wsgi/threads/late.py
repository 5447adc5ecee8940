"""A thread at the end of CPython 3.12, which starts none itself once its end has begun (gh-104690,
`thread_PyThread_start_new_thread`).
"""

from __future__ import annotations

import _thread
import contextlib
from typing import Any, Callable, List

_kept: List[Any] = []  # what C was given must live as long as the process


def begin(run: Callable[[], object]) -> bool:
    """Run it in a thread that is none of `threading`'s, at the interpreter's end too; return
    whether there could be one.
    """
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # at the end of CPython 3.12, or at the limit of threads
        return start(run)
    return True


def start(run: Callable[[], object]) -> bool:
    """Run it in a thread that the C library starts; return whether that could be done.

    Where the interpreter's own `start_new_thread` refuses, a thread of somebody else may still
    enter it until it is finalized, which is after everything that this library calls.
    """
    # a build without ctypes, a library without pthread_create
    with contextlib.suppress(ImportError, AttributeError):
        import ctypes

        library = ctypes.CDLL(None)
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: run())
        _kept.append(entry)
        # pthread_t: a number or a pointer, of this size on Linux and macOS
        thread = ctypes.c_void_p()
        if library.pthread_create(ctypes.byref(thread), None, entry, None) == 0:
            library.pthread_detach(thread)
            return True
    return False
