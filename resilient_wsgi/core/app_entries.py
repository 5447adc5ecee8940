"""Which code of this library calls the app: known by the code objects themselves, so that files may
be renamed.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import Any, Callable, Optional, Set, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_codes: Set[CodeType] = set()


def calls_the_app(function: F) -> F:
    """Note that a function calls the app's code, as a decorator; return the function itself."""
    _codes.add(function.__code__)
    return function


def is_caller(frame: FrameType) -> bool:
    """Return whether a frame is that of a function which calls the app's code."""
    return frame.f_code in _codes


def inside(frame: Optional[FrameType]) -> bool:
    """Return whether the app's code, or what it has called, runs on a stack of which this is the
    innermost frame.
    """
    while frame is not None:
        if is_caller(frame):
            return True
        frame = frame.f_back
    return False
