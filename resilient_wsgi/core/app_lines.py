"""Which line of a stack is the app's own."""

from __future__ import annotations

import os
from types import FrameType
from typing import Iterator, NamedTuple, Optional, Sequence

# packages that stand between the app's line and the socket
_CLIENTS = frozenset(
    ("resilient_wsgi", "wrapt", "http", "urllib", "urllib3", "requests", "httpx", "httpcore",
     "httpx2", "httpcore2", "aiohttp", "aiohttp_retry", "websocket", "niquests", "anyio", "trio",
     "asyncio", "contextlib", "ssl", "socket", "botocore", "boto3", "s3transfer",
     "elastic_transport", "elasticsearch", "opensearchpy", "sentry_sdk", "opentelemetry", "xmlrpc",
     "concurrent", "threading")
)  # fmt: skip
_INSTALLED = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"
_STDLIB = os.path.dirname(os.__file__) + os.sep  # sysconfig takes 5 ms to import


class Caller(NamedTuple):
    """A line of the app, and the function that it is in."""

    line: str
    function: str

    def __str__(self) -> str:
        return f"{self.line} in {self.function}"


def caller_on(frame: Optional[FrameType], awaiting: Sequence[FrameType] = ()) -> Caller:
    """Return the innermost line of the app's own code on a stack of which this is the innermost
    frame; where there is none, of what has called an HTTP library.

    `awaiting` are the frames of the coroutines that the stack belongs to, the innermost first: it
    may lack some of them.
    """
    installed: Optional[FrameType] = None
    last = frame
    for each in _frames(frame, awaiting):
        if each.f_globals.get("__name__", "").partition(".")[0] not in _CLIENTS:
            if _is_of_app(each.f_code.co_filename):
                return line_of(each)
            installed = installed or each
        last = each
    found = installed or last
    return Caller("?", "?") if found is None else line_of(found)


def _frames(frame: Optional[FrameType], awaiting: Sequence[FrameType]) -> Iterator[FrameType]:
    while frame is not None and frame not in awaiting:
        yield frame
        frame = frame.f_back
    yield from awaiting


def line_of(frame: FrameType) -> Caller:
    """Return the line and the function that a frame is in."""
    code = frame.f_code
    return Caller(
        f"{code.co_filename}:{frame.f_lineno}", getattr(code, "co_qualname", code.co_name)
    )


def _is_of_app(path: str) -> bool:
    return not path.startswith((_STDLIB, "<frozen")) and not any(
        part in path for part in _INSTALLED
    )
