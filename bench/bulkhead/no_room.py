"""A host whose /dev/shm is full: no file there can be given room."""

from __future__ import annotations

import errno
import os

_allocate = os.posix_fallocate


def _full(fd: int, offset: int, size: int) -> None:
    if os.readlink(f"/proc/self/fd/{fd}").startswith("/dev/shm/"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _allocate(fd, offset, size)


os.posix_fallocate = _full
