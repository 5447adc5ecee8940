"""Locks that are never waited for without an end: a holder may be stopped, or another program's."""

from __future__ import annotations

import contextlib
import fcntl
import time

ATTEMPTS = 100
PAUSE = 0.01


def lock(fd: int) -> None:
    """Lock a file by `lockf`, waiting up to a second. Raises `OSError` after that."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
