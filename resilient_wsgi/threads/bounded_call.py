"""Call foreign code with a time limit, even while the interpreter shuts down."""

from __future__ import annotations

import _thread
import contextlib
from typing import Any, Callable, List

from ..core.guard import Guard

_guard = Guard("threads")
_kept: List[Any] = []  # callbacks that C code was given must live as long as the process


def bounded(call: Callable[[], object], seconds: float) -> bool:
    """Call it in a thread of its own; return whether it returned within `seconds`.

    An exception that it raises is logged. It is not called if no thread can be started (the limit
    of threads).

    The caller may be a signal handler at the end of the process, where a lock that is never
    released would hold up the exit. The thread is not one of `threading`, so that nothing joins it.
    """
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            with _guard:
                call()
        finally:
            done.release()

    return start_thread(run) and done.acquire(timeout=seconds)


def start_thread(run: Callable[[], object]) -> bool:
    """Run it in a thread unknown to `threading`; return whether the thread could be started.

    CPython 3.12 starts no thread once the interpreter has begun to end (gh-104690,
    `thread_PyThread_start_new_thread`).
    """
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # CPython 3.12, or the limit of threads
        return _start_by_c(run)
    return True


def _start_by_c(run: Callable[[], object]) -> bool:
    # the interpreter refuses to start a thread, but lets a foreign one enter until it is finalized,
    # which is after everything that this library calls
    with contextlib.suppress(ImportError, AttributeError):  # no ctypes, or no pthread_create
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
