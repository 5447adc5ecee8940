"""Where a thread was started and where it stands now: what an operator needs to find the line that
must change.
"""

from __future__ import annotations

import dis
import os
import threading
import time
import traceback
from types import CodeType, FrameType
from typing import Iterable, List, Optional, Sequence, Tuple

from ..core import frames

DEPTH = 5  # enough for an executor's two and the app's own
_PASSED = (
    threading.__file__,
    os.path.join(os.path.dirname(threading.__file__), "concurrent", "futures"),
)


class Origin:
    """The process and the lines in which a thread was started.

    Taken at each `Thread.start`: what costs time, the line numbers and the text, waits until
    somebody asks.
    """

    __slots__ = ("_places", "pid", "time", "work")

    def __init__(self, frame: Optional[FrameType], *, work: bool = False) -> None:
        self.pid = os.getpid()
        self.time = time.monotonic()
        self.work = work  # whether a request or task has started it
        places: List[Tuple[CodeType, int]] = []
        self._places = places
        left = DEPTH
        while frame is not None and left:
            places.append((frame.f_code, frame.f_lasti))
            frame = frame.f_back
            left -= 1

    def starter(self) -> str:
        """Return the file whose code started the thread: the innermost that is not `threading` or
        an executor.
        """
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
    """Return the places in which a thread of this process stands, outermost first."""
    reason = frames.why_not()
    if reason:
        return f"  (no stacks: {reason})"
    frame = frames.frame_of(thread.ident)
    if frame is None:
        return "  (no Python code)"
    return places(frame, without=("threading",)) or places(frame)


def places(frame: FrameType, without: Sequence[str] = ()) -> str:
    """Return where a thread stands, outermost first, but for some modules."""
    stack = reversed(list(traceback.walk_stack(frame)))
    return _text(
        (each.f_code, line) for each, line in stack if each.f_globals.get("__name__") not in without
    )


def _text(found: Iterable[Tuple[CodeType, int]]) -> str:
    # as in a traceback, but without the source: after a deploy the file has other lines than those
    # that run, and to read it might take longer than an exit may
    rows = [(code.co_filename, line, code.co_name, "") for code, line in found]
    return "".join(traceback.format_list(traceback.StackSummary.from_list(rows))).rstrip()
