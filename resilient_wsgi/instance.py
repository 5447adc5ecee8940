"""Files that the processes of one instance share, named by its master and when that was started. See `request.shared` for why."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time

from .system import SYSTEM

PREFIX = "resilient_wsgi"


def path_for(master_pid: int, kind: str = "") -> str:
    """Return the path of this user's file for the instance with that master; `kind` is a word, for a second one."""
    return os.path.join(folder(), f"{PREFIX}.{os.geteuid()}.{master_pid}.{started(master_pid)}{kind and '.' + kind}")


def folder() -> str:
    """Return where such files lie: memory where there is such a file system."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else tempfile.gettempdir()  # noqa: S108 - see _still_there


def sweep() -> None:
    """Remove the files of this user whose master is no more."""
    pattern = re.compile(rf"{PREFIX}\.{os.geteuid()}\.(\d+)\.(\d+)(\.\w+)?")
    for name in os.listdir(folder()):
        match = pattern.fullmatch(name)
        if match and started(int(match.group(1))) != int(match.group(2)):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder(), name))


def lock(fd: int) -> None:
    """Lock a file, waiting up to a second. Raises `OSError` after that."""
    for _ in range(100):
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def started(pid: int) -> int:
    """Return when a process was started, in clock ticks since the machine was: with its pid, that names it. 0: it is gone."""
    text = SYSTEM.read_text(f"/proc/{pid}/stat")
    # the name of the command stands in brackets and may hold anything
    return int(text.rpartition(")")[2].split()[19]) if text else 0
