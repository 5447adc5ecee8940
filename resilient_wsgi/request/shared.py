"""Memory that all workers of an instance share and that outlives each of them: a file in their
private directory.

A file and not inherited memory, because in lazy-apps without `shared-import`, and under gunicorn,
nothing of ours runs in the master. The last worker that ends in an orderly way removes it; what a
killed instance leaves, the next one of the same user sweeps. uWSGI's reload keeps the pid of the
master, and with it the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from typing import Iterator

from ..errors import Unavailable
from ..shm import instance
from ..shm.directory import Directory
from ..shm.locks import lock

NAME = "requests"
HEAD_BYTES = 4096
REGION_BYTES = 8192
REGIONS = 256
SIZE_BYTES = HEAD_BYTES + REGIONS * REGION_BYTES
ATTEMPTS = 10


class Shared:
    """The open memory of one instance.

    `memory` begins with the head (see `rate`), then come the regions (see `records`).
    """

    def __init__(self, fd: int, directory: Directory) -> None:
        self.directory = directory
        self._fd = fd
        self.memory = mmap.mmap(fd, SIZE_BYTES)

    def __repr__(self) -> str:
        return f"<Shared {self.directory.path}/{NAME}>"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the other workers out.

        The kernel opens it when its holder dies; nobody holds it for more than milliseconds.

        Raises `OSError` if it cannot be had within a second: its holder is stopped, and the
        watchdog must not wait for it.
        """
        lock(self._fd)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def remove(self) -> None:
        """Take the name away; those who have it open keep it. Call it with the lock held."""
        with contextlib.suppress(OSError):
            self.directory.unlink(NAME)

    def close(self) -> None:
        """Let go of it. The memory goes when nobody refers to it any more."""
        os.close(self._fd)


class View:
    """What stood in the memory of another instance at one moment: to be read, by `records`.

    Nothing of it is mapped.
    """

    def __init__(self, memory: bytes) -> None:
        self.memory = memory


def open_shared() -> Shared:
    """Return the memory of this process's instance, made if it is not there yet.

    Raises `OSError`, `Unavailable`.
    """
    directory = instance.directory()
    for _ in range(ATTEMPTS):
        fd = _open(directory)
        try:
            lock(fd)
            about = os.fstat(fd)
            # nobody removed it between the opening and the lock
            if about.st_nlink and about.st_size == SIZE_BYTES:
                shared = Shared(fd, directory)
                fcntl.lockf(fd, fcntl.LOCK_UN)
                return shared
            if about.st_nlink:  # of another version of the library, before a reload
                directory.unlink(NAME)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    msg = f"{directory.path}/{NAME} is removed again and again"
    raise Unavailable(msg)


def _open(directory: Directory) -> int:
    with contextlib.suppress(FileNotFoundError):
        return directory.open(NAME)
    try:
        return directory.create(NAME, SIZE_BYTES)
    except FileExistsError:
        return directory.open(NAME)


def view(pid: int) -> View:
    """Return what the instance of a process shares, to be looked at from outside.

    Raises as `instance.find`, and `OSError`.
    """
    directory = instance.find(pid)
    try:
        fd = directory.open(NAME, os.O_RDONLY)
        try:
            return View(os.pread(fd, SIZE_BYTES, 0).ljust(SIZE_BYTES, b"\0"))
        finally:
            os.close(fd)
    finally:
        directory.close()
