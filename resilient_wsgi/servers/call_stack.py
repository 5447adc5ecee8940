"""Whose code the calling thread runs: the one trace that a server leaves in its process, however
it was started.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Iterator, Optional


def folder_of(package: str) -> str:
    """Return the folder of a package, with a slash at its end; "" if it is not imported."""
    file = getattr(sys.modules.get(package), "__file__", None)
    return os.path.join(os.path.dirname(file), "") if file else ""


def _files() -> Iterator[str]:
    """Yield the files of the functions that the calling thread is in, innermost first."""
    # cheaper than a traceback, and nothing else is needed
    frame: Optional[FrameType] = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


def is_inside(*places: str) -> bool:
    """Return whether the calling thread is in a function of one of these files, or of files in
    these folders.
    """
    known = tuple(place for place in places if place)
    return bool(known) and any(file.startswith(known) for file in _files())
