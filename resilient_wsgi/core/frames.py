"""The frames of all threads, and dumps of them: the one place of this library that may look at
them, and whether it may.

Looking walks the interpreter's list of thread states, and in a process that was forked without
Python's fork callbacks, as uWSGI forks, that crashes unless the list was cleaned first
(thread_states.py). Where that cannot be shown to have been done, nothing here looks, and
`why_not()` says why. On CPython 3.9 to 3.15 `sys._current_frames()` is safe in any other process;
faulthandler's dump of all threads is not, if it is made while they run
(docs/measurements/stale-thread-states.md).
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Dict, Optional, Union

from .system import PerProcess

if TYPE_CHECKING:
    from .thread_states import ThreadStates

LOST = (
    "this process was forked before resilient_wsgi was imported, and threads were lost in the fork"
)
CLEANED = b"resilient_wsgi.cleaned"  # by the copy of this module in the first interpreter


class Frames:
    """Whether the thread states of this process may be walked, decided once in each process."""

    def __init__(self, *, embedded: bool) -> None:
        """Take the list of this process for clean, unless Python is embedded in a server that may
        have forked already.
        """
        # why they may not be walked, "" if they may, None as long as that is not known
        self._reason: PerProcess[Optional[str]] = PerProcess(_not_known)
        if not embedded:
            self._reason.set("")
        self._states: Union[ThreadStates, Exception, None] = None

    def __repr__(self) -> str:
        return f"<Frames {self.why_not() or 'may be looked at'}>"

    def why_not(self) -> str:
        """Return why no stacks can be had in this process, `""` if they can."""
        reason = self._reason.get()
        return self._examine() if reason is None else reason

    def not_forked(self) -> None:
        """Note that this process has the list for itself: it was not forked, or Python's own
        callbacks have cleaned it.
        """
        self._reason.set("")

    def prepare(self) -> None:
        """Import and look up what a child will need: in the child a lock may be held by a thread
        that it does not have.
        """
        if self._states is None:
            try:
                from .thread_states import ThreadStates

                self._states = ThreadStates()
            except (
                Exception
            ) as error:  # NotAsKnown, or no ctypes: a subinterpreter with a GIL of its own, 3.12
                self._states = error

    def forked(self) -> None:
        """Clean the list in a new process.

        To be called first of all, before any thread of Python is started there.
        """
        if self._reason.get() is not None:
            return
        try:
            states = self.thread_states()
            states.forget_the_dead()
            states.note(CLEANED)
        except Exception as error:
            self._reason.set(_reason(error))
        else:
            self._reason.set("")

    def _examine(self) -> str:
        """Look whether the list is clean where it was not cleaned: this was imported after the
        fork, or in a mount.
        """
        try:
            states = self.thread_states()
            if states.alone():  # then all the others are dead
                states.forget_the_dead()
            clean = states.noted(CLEANED) == os.getpid() or states.all_alive()
        except Exception as error:
            reason = _reason(error)
        else:
            if not clean:
                # asked again the next time: a thread that is being started looks like one that is
                # gone
                return LOST
            reason = ""
        self._reason.set(reason)
        return reason

    def thread_states(self) -> ThreadStates:
        """Return what knows the lists of this process. Raises `NotAsKnown`."""
        self.prepare()
        if self._states is None or isinstance(self._states, Exception):
            raise self._states or RuntimeError
        return self._states


def _not_known() -> Optional[str]:
    return None


def _reason(error: Exception) -> str:
    return f"thread states that the fork has left behind cannot be removed: {error}"


# uWSGI says in its own part (servers/uwsgi/server.py) which of its processes this is
state = Frames(embedded="uwsgi" in sys.modules)
os.register_at_fork(after_in_child=state.not_forked)


def why_not() -> str:
    """Return why the frames of this process's threads cannot be looked at, `""` if they can."""
    return state.why_not()


def frames() -> Dict[int, FrameType]:
    """Return the innermost frame of each thread by `get_ident()`; none where that is unsafe."""
    return {} if state.why_not() else sys._current_frames()  # noqa: SLF001


def frame_of(thread: Optional[int]) -> Optional[FrameType]:
    """Return the innermost frame of a thread, None where it has none or looking is not safe."""
    return frames().get(thread or 0)


def end_later(seconds: float, fd: int) -> bool:
    """Have this process write the stacks of all threads and end unless `cancel_end` is called in
    time; False if it cannot be.

    It works without Python: faulthandler has a thread in C for it.
    """
    handler = _faulthandler()
    if handler is None or state.why_not():
        return False
    handler.dump_traceback_later(seconds, exit=True, file=fd)
    return True


def cancel_end() -> None:
    """Call `end_later` off."""
    handler = _faulthandler()
    if handler is not None:
        handler.cancel_dump_traceback_later()


def dump(fd: int) -> None:
    """Write the stacks of all threads to a descriptor, from a thread of Python, or why there are
    none.
    """
    handler, reason = _faulthandler(), state.why_not()
    if handler is None or reason:
        os.write(fd, f"(no stacks: {reason or 'no faulthandler'})\n".encode())
    else:
        handler.dump_traceback(file=fd, all_threads=True)


def dump_at_signal(signum: int, fd: int) -> str:
    """Have the stacks of all threads written to a descriptor at a signal; return why that cannot
    be, `""` if it is done.

    The handler reads frames without the GIL, so it may end a process whose threads run Python just
    then.
    """
    handler, reason = _faulthandler(), state.why_not()
    if handler is None:
        return "faulthandler cannot be imported in this interpreter"
    if not reason:
        handler.register(signum, file=fd, all_threads=True, chain=False)
    return reason


def no_dump_at_signal(signum: int) -> None:
    """Give the signal back."""
    handler = _faulthandler()
    if handler is not None:
        handler.unregister(signum)


def _faulthandler() -> Any:
    try:
        import faulthandler
    except ImportError:  # a subinterpreter with a GIL of its own
        return None
    return faulthandler
