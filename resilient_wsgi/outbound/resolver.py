"""`getaddrinfo` that is given up on in time.

It cannot be interrupted and has no timeout, so it runs in helper threads. There are never more than a few: when all are
stuck in a dead DNS, those who ask wait for as long as they may and give up. Equal questions share one answer.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from typing import Any, Dict, List, Optional, Tuple

THREADS = 8
IDLE_SECONDS = 10.0

Question = Tuple[Any, ...]
Answer = List[Tuple[Any, ...]]


class NotInTime(Exception):
    """There was no answer within the time. Not a `TimeoutError`: `getaddrinfo` may have been replaced by one that raises it."""


class _Lookup:
    """One question under way, and those who wait for its answer."""

    __slots__ = ("answer", "done", "error", "question", "waiting")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.done = threading.Event()
        self.answer: Answer = []
        self.error: Optional[BaseException] = None
        self.waiting = 0

    def run(self) -> None:
        try:
            self.answer = socket.getaddrinfo(*self.question)
        except BaseException as error:
            self.error = error


class Resolver:
    """The helper threads of one process."""

    def __init__(self, threads: int = THREADS, idle_seconds: float = IDLE_SECONDS) -> None:
        self.pid = os.getpid()
        self._most = threads
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._lookups: Dict[Question, _Lookup] = {}
        self._queue: queue.SimpleQueue[_Lookup] = queue.SimpleQueue()
        self._threads = 0

    def __repr__(self) -> str:
        return f"<Resolver threads={self._threads}/{self._most} lookups={len(self._lookups)}>"

    def ask(self, question: Question, timeout: Optional[float]) -> Answer:
        """Return what `socket.getaddrinfo(*question)` returns, or raise what it raises; `NotInTime` if it takes longer."""
        lookup = self._submit(question)
        if lookup is None:  # no thread to be had: the interpreter ends, or allows none
            return socket.getaddrinfo(*question)
        answered = lookup.done.wait(timeout)
        with self._lock:
            lookup.waiting -= 1
        if not answered:
            raise NotInTime
        if lookup.error is not None:
            raise lookup.error.with_traceback(None)  # which keeps the frames of the helper alive
        return lookup.answer

    def _submit(self, question: Question) -> Optional[_Lookup]:
        with self._lock:
            lookup = self._lookups.get(question)
            if lookup is None:
                lookup = _Lookup(question)
                if not self._staffed():
                    return None
                self._lookups[question] = lookup
                self._queue.put(lookup)
            lookup.waiting += 1
            return lookup

    def _staffed(self) -> bool:
        """Start a thread if all are busy and there may be another; tell whether there is any."""
        if len(self._lookups) >= self._threads < self._most:
            name = f"resilient_wsgi-dns-{self._threads}"
            try:
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except RuntimeError:
                return self._threads > 0
            self._threads += 1
        return True

    def _work(self) -> None:
        while True:
            try:
                lookup = self._queue.get(timeout=self._idle_seconds)
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._threads -= 1
                        return
                continue
            if self._is_wanted(lookup):
                lookup.run()
                with self._lock:
                    del self._lookups[lookup.question]
                lookup.done.set()
            del lookup

    def _is_wanted(self, lookup: _Lookup) -> bool:
        """Tell whether anybody still waits for the answer; if not, forget the question."""
        with self._lock:
            if lookup.waiting:
                return True
            del self._lookups[lookup.question]
            return False


_resolver: Optional[Resolver] = None


def ask(question: Question, timeout: Optional[float]) -> Answer:
    """Ask the resolver of this process."""
    global _resolver
    if _resolver is None or _resolver.pid != os.getpid():  # a fork has none of the threads, and perhaps a locked lock
        _resolver = Resolver()
    return _resolver.ask(question, timeout)
