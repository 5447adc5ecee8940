"""Notice a fork without a system call, whoever forked: uWSGI does so without running Python's
callbacks.
"""

from __future__ import annotations

import mmap
from typing import MutableSequence

from ..host.linux import MADV_WIPEONFORK
from .system import System


class _ByPid:
    """The same where the kernel has it not: `os.getpid` takes 0.05 to 0.25 microseconds, a byte of
    memory 0.03.
    """

    def __init__(self, system: System) -> None:
        self._getpid = system.getpid
        self._pid = 0

    def __getitem__(self, _place: int) -> int:
        return self._pid == self._getpid()

    def __setitem__(self, _place: int, _value: int) -> None:
        self._pid = self._getpid()


def mark(system: System) -> MutableSequence[int]:
    """Return something whose item 0 is false in each new process until it is set there."""
    if system.wipes_on_fork:
        try:
            page = mmap.mmap(-1, 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            page.madvise(MADV_WIPEONFORK)  # the child finds zeros
        except (OSError, ValueError, AttributeError):
            pass
        else:
            return page  # type: ignore[return-value]
    return _ByPid(system)  # type: ignore[return-value]
