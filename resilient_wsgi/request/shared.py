"""Memory that all workers of an instance share and that outlives each of them: a file in /dev/shm, named by the master.

A file and not inherited memory, because in lazy-apps without `shared-import`, and under gunicorn, nothing of ours runs in
the master. The last worker that ends in an orderly way removes it; what a killed instance leaves, the next one of the
same user sweeps. uWSGI's reload keeps the pid of the master, and with it the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import stat
from typing import Iterator, Optional

from ..instance import PREFIX, lock, path_for, sweep

HEAD_BYTES = 4096
REGION_BYTES = 8192
REGIONS = 256
SIZE_BYTES = HEAD_BYTES + REGIONS * REGION_BYTES  # sparse: what no worker has touched takes no memory


class Shared:
    """The open memory of one instance. `memory` begins with the head (see `rate`), then come the regions (see `records`)."""

    def __init__(self, fd: int, path: str) -> None:
        self.path = path
        self._fd = fd
        self.memory = mmap.mmap(fd, SIZE_BYTES)

    def __repr__(self) -> str:
        return f"<Shared {self.path}>"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the other workers out. The kernel opens it when its holder dies; nobody holds it for more than milliseconds.

        Raises `OSError` if it cannot be had within a second: its holder is stopped, and the watchdog must not wait for it.
        """
        lock(self._fd)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def remove(self) -> None:
        """Take the name away; those who have it open keep it. Call it with the lock held."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def close(self) -> None:
        """Let go of it. The memory goes when nobody refers to it any more."""
        os.close(self._fd)


def open_for(master_pid: int) -> Shared:
    """Return the memory of the instance with that master, made if it is not there yet. Raises `OSError`."""
    sweep()
    path = path_for(master_pid)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            lock(fd)
            if _still_there(fd, path):  # nobody removed it between the opening and the lock
                os.ftruncate(fd, SIZE_BYTES)
                shared = Shared(fd, path)
                fcntl.lockf(fd, fcntl.LOCK_UN)
                return shared
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _still_there(fd: int, path: str) -> bool:
    mine = os.fstat(fd)
    if not stat.S_ISREG(mine.st_mode) or mine.st_uid != os.geteuid():
        msg = f"{path} is not a file of ours"
        raise PermissionError(msg)
    try:
        return os.path.samestat(mine, os.stat(path))
    except FileNotFoundError:
        return False


def find(pid: int) -> Optional[str]:
    """Return the path, among the descriptors of another process, of its instance's memory; None if it has none open."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        with contextlib.suppress(OSError):
            if re.search(rf"/{PREFIX}\.\d+\.\d+\.\d+( \(deleted\))?$", os.readlink(path)):
                return path
    return None
