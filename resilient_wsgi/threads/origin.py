"""Where a thread was started and what it executes now: an operator finds the line to change."""

from __future__ import annotations

import dis
import os
import threading
import time
import traceback
from types import CodeType, FrameType
from typing import Iterable, List, Optional, Sequence, Tuple

from ..core import frames
from ..core.system import this_process

DEPTH = 5  # enough for an executor's two and the app's own
_PASSED = (
    threading.__file__,
    os.path.join(os.path.dirname(threading.__file__), "concurrent", "futures"),
)


class Origin:
    """The process and the lines of code that started a thread.

    Recorded at each `Thread.start`; what costs time, line numbers and text, is computed on demand.
    """

    __slots__ = ("_places", "_process", "time", "work")

    def __init__(self, frame: Optional[FrameType], *, work: bool = False) -> None:
        self._process = this_process()
        self.time = time.monotonic()
        self.work = work  # a request or task has started it
        places: List[Tuple[CodeType, int]] = []
        self._places = places
        left = DEPTH
        while frame is not None and left:
            places.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back
            left -= 1

    def belongs_here(self) -> bool:
        """Return whether this process started the thread, not one that it was forked from."""
        return self._process is this_process()

    def starter(self) -> str:
        """Return the file that started the thread: the innermost but `threading` and executors."""
        files = (code.co_filename for code, _ in self._places)
        return next((file for file in files if not file.startswith(_PASSED)), "")

    def __str__(self) -> str:
        """Return the places, outermost first."""
        return _text(
            (code, _line(code, instruction))
            for code, instruction in reversed(self._places)
            if not code.co_filename.startswith("<frozen importlib")
        )


def _line(code: CodeType, instruction: int) -> int:
    lines = [line for start, line in dis.findlinestarts(code) if start <= instruction and line]
    return lines[-1] if lines else code.co_firstlineno


UNKNOWN = "  (started before resilient_wsgi.threads was installed)"


def stack_of(thread: threading.Thread) -> str:
    """Return the stack of a thread of this process, outermost call first."""
    reason = frames.why_not()
    if reason:
        return f"  (no stacks: {reason})"
    frame = frames.frame_of(thread.ident)
    if frame is None:
        return "  (no Python code)"
    return places(frame, without=("threading",)) or places(frame)


def places(frame: FrameType, without: Sequence[str] = ()) -> str:
    """Return the stack of a thread, outermost call first, without some modules."""
    stack = reversed(list(traceback.walk_stack(frame)))
    return _text(
        (each.f_code, line) for each, line in stack if each.f_globals.get("__name__") not in without
    )


def _text(found: Iterable[Tuple[CodeType, int]]) -> str:
    # as in a traceback, but without the source: after a deploy the file may differ from the code
    # that runs, and reading it might take longer than an exit may
    rows = [(code.co_filename, line, code.co_name, "") for code, line in found]
    return "".join(traceback.format_list(traceback.StackSummary.from_list(rows))).rstrip()
