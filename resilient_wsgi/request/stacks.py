"""The stacks of all threads as text: function, file and line, without reading a source file, which
might wait for a disk.
"""

from __future__ import annotations

import threading
from types import FrameType
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..core import callers, frames
from ..core.environ import method_and_path
from ..core.text import printable
from .running import RequestDeadline

FRAMES = 40
Requests = Sequence[Tuple[int, RequestDeadline]]


def report(requests: Requests, now: float, without: int = 0) -> str:
    """Return the requests that run, a line each, and the stacks of all threads but one."""
    lines = [_line(request, now) for _, request in requests] or ["no request runs"]
    return "\n".join([*lines, "", render(working(requests, now), without)])


def working(requests: Requests, now: float) -> Dict[int, str]:
    """Return by thread what it works on."""
    return {thread: _words(request, now) for thread, request in requests}


def _line(request: RequestDeadline, now: float) -> str:
    doing = request.doing()
    return _words(request, now) + (f", waiting for {printable(doing)}" if doing else "")


def _words(request: RequestDeadline, now: float) -> str:
    return printable(
        "{} {} for {:.2f} s".format(*method_and_path(request.environ), now - request.start)
    )


def render(requests: Mapping[int, str], without: int = 0) -> str:
    """Return the stacks of all threads but one, innermost call first; `requests` names what a
    thread works on.

    The threads that work on a request come first. Where looking is not safe, the text says why.
    """
    reason = frames.why_not()
    if reason:
        return f"(no stacks: {reason})"
    names = _names()
    found = {thread: frame for thread, frame in frames.frames().items() if thread != without}
    order = sorted(found, key=lambda thread: thread not in requests)
    return "\n".join(
        "\n".join(_thread(names.get(t) or _own(found[t]), found[t], requests.get(t))) for t in order
    )


def in_request(thread: int) -> bool:
    """Return whether a thread runs code that we have called.

    It does not while the server sends the answer to a slow client, or if nobody has closed the
    response: no reason to replace a worker. Where looking is not safe it counts as one that does
    not, and the worker stays.
    """
    return callers.inside(frames.frame_of(thread))


def _thread(name: str, frame: FrameType, request: Optional[str]) -> List[str]:
    return [f"thread {name!r}" + (f", in {printable(request)}" if request else ""), *_frames(frame)]


def _frames(frame: Optional[FrameType]) -> Iterator[str]:
    shown = 0
    while frame is not None and shown < FRAMES:
        code = frame.f_code
        yield f"  {printable(code.co_name)} ({printable(code.co_filename)}:{frame.f_lineno})"
        frame, shown = frame.f_back, shown + 1
    if frame is not None:
        yield "  ..."


def _own(frame: FrameType) -> str:
    """Return a name for a thread that `threading` does not know: that of our module that has
    started it, `?` for others'.
    """
    outer: Optional[FrameType] = frame
    while outer is not None:
        frame, outer = outer, outer.f_back
    package, _, module = str(frame.f_globals.get("__name__")).partition(".")
    return f"{package} {module}" if module and package == __package__.partition(".")[0] else "?"


def _names() -> Dict[int, str]:
    # not threading.enumerate(): it takes a lock that a thread which the fork left behind may hold
    return {thread: known.name for thread, known in list(threading._active.items())}  # type: ignore[attr-defined]  # noqa: SLF001
