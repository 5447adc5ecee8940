"""CPython's list of thread states: find what belongs to no thread of this process, and take it out.

uWSGI forks without `PyOS_AfterFork_Child`. The state of each thread that ran in the master stays in
the list of the child, and from 3.11 on points into stacks that are used again: whatever walks the
list to look at frames crashes the process.

The list is read through CPython's public API. Two pointers of each entry are written: `prev` and
`next`, the first two words of `PyThreadState` in every version so far (3.9 to 3.15), which is
checked on the list itself before anything is written. Nothing is freed, no destructor and no fork
callback runs; what is taken out leaks, as it did before. docs/measurements/stale-thread-states.md
has what was tried, and the numbers.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from ctypes import PyDLL, c_char_p, c_int64, c_long, c_ulong, c_void_p, py_object, sizeof
from typing import Any, FrozenSet, Iterator, List, Optional

WORD = sizeof(c_void_p)
# `thread_id` is found by its value, in that part of the struct that all versions have (256 bytes on
# 64 bits)
FIRST_WORD, LAST_WORD = 3, 32
MOST = 100_000  # entries of a list: a circle must not keep us

_PROTOTYPES = {
    "PyInterpreterState_Head": (c_void_p, ()),
    "PyInterpreterState_Next": (c_void_p, (c_void_p,)),
    "PyInterpreterState_ThreadHead": (c_void_p, (c_void_p,)),
    "PyInterpreterState_Main": (c_void_p, ()),
    "PyInterpreterState_Get": (c_void_p, ()),
    "PyInterpreterState_GetID": (c_int64, (c_void_p,)),
    "PyInterpreterState_GetDict": (c_void_p, (c_void_p,)),
    "PyThreadState_Next": (c_void_p, (c_void_p,)),
    "PyThreadState_Get": (c_void_p, ()),
    "PyThreadState_New": (c_void_p, (c_void_p,)),
    "PyThreadState_Clear": (None, (c_void_p,)),
    "PyThreadState_Delete": (None, (c_void_p,)),
    "PyDict_GetItemString": (c_void_p, (c_void_p, c_char_p)),
    "PyDict_SetItemString": (c_long, (c_void_p, c_char_p, py_object)),
    "PyLong_AsLong": (c_long, (c_void_p,)),
    "PyThread_get_thread_ident": (c_ulong, ()),  # gevent gives get_ident() another meaning
}


class NotAsKnown(Exception):
    """The interpreter is not laid out as those that were measured; the text says how it differs."""


class ThreadStates:
    """The lists of all interpreters of this process.

    Make it in the master: nothing is left to import in the child then.

    Raises `NotAsKnown` where nothing may be touched. Every method is to be called with the GIL
    held, as Python code does.
    """

    def __init__(self) -> None:
        _check_kind()
        # one of our own: the prototypes of ctypes.pythonapi are everybody's
        self._api: Any = PyDLL(None)
        for name, (result, arguments) in _PROTOTYPES.items():
            try:
                function = getattr(self._api, name)
            except AttributeError:
                msg = f"this build of Python exports no {name}"
                raise NotAsKnown(msg) from None
            function.restype, function.argtypes = result, arguments
        self._after_fork = getattr(self._api, "_PyParkingLot_AfterFork", None)
        if self._after_fork is not None:
            self._after_fork.restype, self._after_fork.argtypes = None, ()
        self._place = self._place_of_thread_id()
        here = threading.get_native_id()
        # the word behind `thread_id`, since 3.11; in a child of uWSGI's the first thread's state
        # keeps that of the master
        native_id = _word(self._current() + self._place + WORD)
        self._knows_native_id = sys.version_info >= (3, 11) and native_id in (here, os.getppid())
        first = here == os.getpid()
        self._first = (
            self._api.PyThread_get_thread_ident() if first else threading.main_thread().ident
        )

    def forget_the_dead(self) -> int:
        """Take out what belongs to no thread of this process, a fresh child of uWSGI's; return how
        many.

        To be called before any thread of Python is started. Raises `NotAsKnown`, and then nothing
        was changed.
        """
        self.forget_waiters()
        for interpreter in self._interpreters():
            self._check(interpreter)
        return sum(self._clean(interpreter) for interpreter in self._interpreters())

    def forget_waiters(self) -> None:
        """Empty the table of threads that wait for a lock of the interpreter itself (3.13 and
        newer).

        Its entries lie on the stacks of the threads that wait, which a child does not have: an idle
        thread of an executor is enough for the next wait in the child to crash, without any of this
        library.
        """
        if self._after_fork is not None:
            self._after_fork()

    def all_alive(self) -> bool:
        """Return whether each entry belongs to a thread of this process, as far as that can be
        shown. Changes nothing.
        """
        tasks = _tasks()
        for interpreter in self._interpreters():
            self._check(interpreter)
            seen = set()
            for state in self._states(interpreter):
                ident = _word(state + self._place)
                if ident in seen or not (self._alive(state, tasks) or _known_to_run(ident, tasks)):
                    return False
                # uWSGI makes several for it, one for each thread to come
                if not self._is_first(ident):
                    seen.add(ident)
        return True

    def alone(self) -> bool:
        """Return whether this process has a single thread, the one that asks."""
        return len(_tasks()) == 1

    def is_main_interpreter(self) -> bool:
        """Return whether this is the first interpreter of the process; several mounts have one
        each.
        """
        return bool(self._api.PyInterpreterState_Get() == self._api.PyInterpreterState_Main())

    def interpreter_number(self) -> int:
        """Return the number of the interpreter that asks: 0 for the first of the process."""
        return int(self._api.PyInterpreterState_GetID(self._api.PyInterpreterState_Get()))

    def note(self, what: bytes) -> None:
        """Note the pid of this process under a name, for the library's copies in all other
        interpreters.
        """
        self._api.PyDict_SetItemString(self._notes(), what, os.getpid())

    def noted(self, what: bytes) -> int:
        """Return the pid that was noted, by this process or one that it was forked from; 0 if none
        was.
        """
        # not with Python's own operations: on 3.13 an object of another interpreter confuses their
        # caches
        found = self._api.PyDict_GetItemString(self._notes(), what)
        return int(self._api.PyLong_AsLong(found)) if found else 0

    def _notes(self) -> int:
        notes: int = self._api.PyInterpreterState_GetDict(self._api.PyInterpreterState_Main())
        return notes

    def _clean(self, interpreter: int) -> int:
        tasks = _tasks()
        # a head of our own, so that whatever is taken out has one before it: the head itself lies
        # at no known place
        head = self._api.PyThreadState_New(interpreter)
        if not head:
            raise NotAsKnown("there is no memory for a thread state")
        try:
            self._check(interpreter)
            dead = [state for state in self._states(interpreter) if not self._alive(state, tasks)]
            for state in dead:
                _unlink(state)
            return len(dead)
        finally:
            self._api.PyThreadState_Clear(head)
            self._api.PyThreadState_Delete(head)

    def _alive(self, state: int, tasks: FrozenSet[int]) -> bool:
        if state == self._current() or self._is_first(_word(state + self._place)):
            return True
        return (
            self._knows_native_id
            and c_ulong.from_address(state + self._place + WORD).value in tasks
        )

    def _is_first(self, ident: int) -> bool:
        return ident in (self._first, self._api.PyThread_get_thread_ident())

    def _current(self) -> int:
        current: int = self._api.PyThreadState_Get()
        return current

    def _interpreters(self) -> Iterator[int]:
        return _walk(self._api.PyInterpreterState_Head(), self._api.PyInterpreterState_Next)

    def _states(self, interpreter: int) -> List[int]:
        return list(
            _walk(
                self._api.PyInterpreterState_ThreadHead(interpreter), self._api.PyThreadState_Next
            )
        )

    def _check(self, interpreter: int) -> None:
        """Raise `NotAsKnown` unless each entry begins with the one before, the one after, and its
        interpreter.
        """
        before = 0
        states = self._states(interpreter)
        for state, after in zip(states, [*states[1:], 0]):
            if (_word(state), _word(state + WORD), _word(state + 2 * WORD)) != (
                before,
                after,
                interpreter,
            ):
                raise NotAsKnown("the first words of a thread state are not prev, next and interp")
            before = state

    def _place_of_thread_id(self) -> int:
        current, ident = self._current(), self._api.PyThread_get_thread_ident()
        places = [
            n * WORD for n in range(FIRST_WORD, LAST_WORD) if _word(current + n * WORD) == ident
        ]
        if len(places) != 1:
            msg = f"thread_id was found {len(places)} times in a thread state"
            raise NotAsKnown(msg)
        return places[0]


def _check_kind() -> None:
    if sys.implementation.name != "cpython":
        msg = f"{sys.implementation.name} has no such list"
        raise NotAsKnown(msg)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotAsKnown("a free-threaded build changes the list without the GIL")


def _walk(first: Optional[int], step: Any) -> Iterator[int]:
    for _ in range(MOST):
        if not first:
            return
        yield first
        first = step(first)
    raise NotAsKnown("a list has no end")


def _word(address: int) -> int:
    return c_void_p.from_address(address).value or 0


def _write(address: int, value: int) -> None:
    c_void_p.from_address(address).value = value or None


def _unlink(state: int) -> None:
    before, after = _word(state), _word(state + WORD)
    _write(before + WORD, after)
    if after:
        _write(after, before)
    # linked to itself: harmless if CPython deletes it later
    _write(state, state)
    _write(state + WORD, state)


def _known_to_run(ident: int, tasks: FrozenSet[int]) -> bool:
    """Return whether `threading` knows a thread of this name that the kernel has: 3.9 and 3.10 keep
    no native id.
    """
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001
    return getattr(thread, "native_id", None) in tasks


def _tasks() -> FrozenSet[int]:
    try:
        return frozenset(map(int, os.listdir("/proc/self/task")))
    except OSError:
        return frozenset()
