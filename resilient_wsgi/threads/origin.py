"""Where a thread was started and where it stands now: what an operator needs to find the line that must change."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from types import CodeType, FrameType
from typing import List, Optional, Tuple

DEPTH = 10
_PASSED = (threading.__file__, os.path.join(os.path.dirname(threading.__file__), "concurrent", "futures"))


class Origin:
    """The process and the lines in which a thread was started. Taken at each `Thread.start`, so formatted only when asked."""

    __slots__ = ("_lines", "pid")

    def __init__(self, frame: Optional[FrameType]) -> None:
        self.pid = os.getpid()
        lines: List[Tuple[CodeType, int]] = []
        while frame is not None and len(lines) < DEPTH:
            lines.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        self._lines = lines

    def starter(self) -> str:
        """Return the file whose code started the thread: the innermost that is not `threading` or an executor."""
        files = (code.co_filename for code, _ in self._lines)
        return next((file for file in files if not file.startswith(_PASSED)), "")

    def __str__(self) -> str:
        """Return the lines, outermost first, as a traceback shows them."""
        rows = [
            (code.co_filename, line, code.co_name, None)
            for code, line in reversed(self._lines)
            if not code.co_filename.startswith("<frozen importlib")
        ]
        return "".join(traceback.format_list(traceback.StackSummary.from_list(rows))).rstrip()


UNKNOWN = "  (started before resilient_wsgi.threads was installed)"


def stack_of(thread: threading.Thread) -> str:
    """Return the lines in which a thread of this process stands, outermost first."""
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame) if frame is not None else []
    own = [line for line in stack if line.filename not in ("<frozen threading>", threading.__file__)] or stack
    return "".join(traceback.format_list(own)).rstrip() or "  (no Python code)"
