"""The operating system, as one small object: tests inject another one instead of patching `os` and `time`."""

from __future__ import annotations

import os
import time


class System:
    """What the library asks of the operating system. A subclass overrides what a test wants to be different."""

    monotonic = staticmethod(time.monotonic)
    wall_time = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    getpid = staticmethod(os.getpid)
    exit = staticmethod(os._exit)

    def read_text(self, path: str) -> str:
        """Return the text of a file of /proc or /sys, `""` where it cannot be read."""
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError:
            return ""


SYSTEM = System()
