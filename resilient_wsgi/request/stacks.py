"""The stacks of all threads as text: function, file and line, without reading a source file, which might wait for a disk."""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import Dict, Iterator, List, Mapping, Optional

FRAMES = 40


def render(requests: Mapping[int, str], without: int = 0) -> str:
    """Return the stacks of all threads but one, innermost call first; `requests` names what a thread works on.

    The threads that work on a request come first.
    """
    names = _names()
    frames = {thread: frame for thread, frame in sys._current_frames().items() if thread != without}  # noqa: SLF001
    order = sorted(frames, key=lambda thread: thread not in requests)
    return "\n".join("\n".join(_thread(names.get(t, "?"), frames[t], requests.get(t))) for t in order)


def in_request(thread: int) -> bool:
    """Return whether a thread runs code that we have called.

    It does not while the server sends the answer to a slow client, or if nobody has closed the response: no reason to
    replace a worker.
    """
    frame = sys._current_frames().get(thread)  # noqa: SLF001
    while frame is not None:
        if frame.f_code.co_filename in CALLERS:
            return True
        frame = frame.f_back
    return False


CALLERS = tuple(os.path.join(os.path.dirname(os.path.abspath(__file__)), name) for name in ("deadline.py", "body.py"))


def _thread(name: str, frame: FrameType, request: Optional[str]) -> List[str]:
    return [f"thread {name!r}" + (f", in {request}" if request else ""), *_frames(frame)]


def _frames(frame: Optional[FrameType]) -> Iterator[str]:
    shown = 0
    while frame is not None and shown < FRAMES:
        code = frame.f_code
        yield f"  {code.co_name} ({code.co_filename}:{frame.f_lineno})"
        frame, shown = frame.f_back, shown + 1
    if frame is not None:
        yield "  ..."


def _names() -> Dict[int, str]:
    # not threading.enumerate(): it takes a lock that a thread which the fork left behind may hold
    return {thread: known.name for thread, known in list(threading._active.items())}  # type: ignore[attr-defined]  # noqa: SLF001
