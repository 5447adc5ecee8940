"""`getaddrinfo` that is given up on in time.

It cannot be interrupted and has no timeout, so it runs in a helper thread: one for each lookup that
is under way, so that a name whose servers are down delays only the calls to that name. The
thread ends with its lookup: a process that has more than one is warned about when it forks.
"""

from __future__ import annotations

import _thread
import contextvars
import copy
import os
import socket
import sys
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..core.system import SYSTEM, PerProcess

MOST_THREADS = 32
"""Stuck lookups beyond this are no longer given up on: they run in the threads that ask, as without
the library.
"""

MOST_OF_A_NAME = 4
SHARED_FOR = 0.5
"""How old a lookup may be for another asker to wait for its answer: an older one may have lost its
packet.
"""

_GONE_WITHIN = 0.005

Question = Tuple[Any, ...]
Answer = List[Tuple[Any, ...]]
GetAddrInfo = Callable[..., Answer]


class NotInTime(Exception):
    """There was no answer within the time.

    No `TimeoutError`: a `getaddrinfo` of the app's own may raise that.
    """


class Lookup:
    """One question under way in a thread of its own."""

    __slots__ = ("answer", "begun", "done", "error", "question", "thread", "told")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.begun = SYSTEM.monotonic()
        self.done = threading.Event()
        self.answer: Optional[Answer] = None
        self.error: Optional[BaseException] = None
        self.thread = 0
        self.told: List[Callable[[Lookup], object]] = []

    def run(self, getaddrinfo: GetAddrInfo) -> None:
        """Ask, and keep what came of it."""
        self.thread = threading.get_native_id()
        try:
            self.answer = getaddrinfo(*self.question)
        except BaseException as error:
            self.error = error


class Resolver:
    """The lookups of one process."""

    def __init__(self, most_threads: int = MOST_THREADS) -> None:
        self._most = most_threads
        self._lock = threading.Lock()
        self._under_way: Dict[Question, List[Lookup]] = {}
        self._threads = 0

    def __repr__(self) -> str:
        return f"<Resolver threads={self._threads}/{self._most} names={len(self._under_way)}>"

    def ask(self, question: Question, timeout: float) -> Answer:
        """Return what `socket.getaddrinfo(*question)` returns, or raise what it raises; `NotInTime`
        if it takes longer.
        """
        getaddrinfo = socket.getaddrinfo
        with self._lock:
            lookup = self._to_join(question)
            mine = None if lookup is not None else self._begin(question, getaddrinfo)
        lookup = lookup or mine
        if lookup is None:
            return getaddrinfo(*question)
        if not lookup.done.wait(min(timeout, threading.TIMEOUT_MAX)):
            raise NotInTime
        if lookup is mine:
            _await_end(lookup.thread)
        if lookup.answer is None:
            error = lookup.error or NotInTime()
            raise error.with_traceback(None) if lookup is mine else copy.copy(error)
        return lookup.answer

    def begin(self, question: Question, told: Callable[[Lookup], object]) -> bool:
        """Have `told(lookup)` called by another thread when there is an answer or an error.

        Returns False where no thread is to be had.
        """
        with self._lock:
            lookup = self._to_join(question) or self._begin(question, socket.getaddrinfo)
            if lookup is not None:
                lookup.told.append(told)
        return lookup is not None

    def _to_join(self, question: Question) -> Optional[Lookup]:
        """Return the lookup whose answer will do for this question, too, None if there is to be
        another.
        """
        same = self._under_way.get(question)
        if not same:
            return None
        newest = same[-1]
        fresh = SYSTEM.monotonic() - newest.begun < SHARED_FOR
        return (
            newest if fresh or len(same) >= MOST_OF_A_NAME or self._threads >= self._most else None
        )

    def _begin(self, question: Question, getaddrinfo: GetAddrInfo) -> Optional[Lookup]:
        """Return a lookup in a thread of its own, None where none is to be had: too many, or the
        interpreter ends.
        """
        if self._threads >= self._most:
            return None
        lookup = Lookup(question)
        work = contextvars.copy_context().run, (self._work, lookup, getaddrinfo)
        try:
            # not threading.Thread: tracers, debuggers and the registry of threads would have to
            # know it
            _thread.start_new_thread(*work)
        except RuntimeError:
            return None
        self._threads += 1
        self._under_way.setdefault(question, []).append(lookup)
        return lookup

    def _work(self, lookup: Lookup, getaddrinfo: GetAddrInfo) -> None:
        lookup.run(getaddrinfo)
        with self._lock:
            self._threads -= 1
            same = self._under_way.get(lookup.question, [])
            # an answer is one for all who have asked; an error only for those who wait for this
            # lookup
            ended = [other for other in same if other is lookup or lookup.answer is not None]
            left = [other for other in same if other not in ended]
            if left:
                self._under_way[lookup.question] = left
            else:
                self._under_way.pop(lookup.question, None)
        for other in ended:
            other.answer = lookup.answer
            other.done.set()
            for told in other.told:
                told(other)


def _await_end(thread: int) -> None:
    """Wait a moment for a thread to be gone for the kernel, too: os.fork() warns where there is a
    second one.
    """
    if sys.version_info < (3, 12) or thread == threading.get_native_id():  # a greenlet of gevent's
        return
    path, until = f"/proc/self/task/{thread}", SYSTEM.monotonic() + _GONE_WITHIN
    while os.path.exists(path) and SYSTEM.monotonic() < until:
        SYSTEM.sleep(0)


# a fork has none of the threads, and perhaps a locked lock
_resolver = PerProcess(Resolver)


def ask(question: Question, timeout: float) -> Answer:
    """Ask the resolver of this process."""
    return _resolver.get().ask(question, timeout)


def begin(question: Question, told: Callable[[Lookup], object]) -> bool:
    """Have the resolver of this process begin."""
    return _resolver.get().begin(question, told)
