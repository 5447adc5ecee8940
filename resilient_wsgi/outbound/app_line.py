"""Which line of the app has made a call."""

from __future__ import annotations

import sys

from ..core.app_lines import Caller, caller_on
from ..core.tasks import awaiting_frames

__all__ = ["Caller", "caller"]


def caller() -> Caller:
    """Return the innermost line of the app's own code; where there is none, of what has called an
    HTTP library.
    """
    return caller_on(sys._getframe(1), awaiting_frames())  # noqa: SLF001 - inspect.stack() reads source files
