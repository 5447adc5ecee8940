"""A directory that belongs to one user alone, and the files in it, each checked after it was
opened.

/dev/shm and /tmp belong to everybody: any user can put a FIFO, a link or a locked file where a name
of ours would be. Nothing here follows a link, waits for the other end of a FIFO or for a lock, or
believes a name before `fstat`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from _thread import get_ident

from ..errors import Unavailable
from .allocation import allocate

# not from typing: importing that takes an exec probe 2 ms
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Optional

SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MODE = 0o700


class Directory:
    """An open directory of one user, mode 0700.

    Close it to let go of it; the files that were opened stay open.
    """

    def __init__(self, path: str, fd: int, *, read_only: bool = False) -> None:
        self.path = path
        self.fd = fd
        self.read_only = read_only
        about = os.fstat(fd)
        self.owner = about.st_uid
        self._identity = (about.st_dev, about.st_ino)

    def __repr__(self) -> str:
        return f"<Directory {self.path}{' read-only' if self.read_only else ''}>"

    def open(self, name: str, flags: int = os.O_RDWR) -> int:
        """Return a descriptor of a file in it.

        It is a regular file of the directory's owner, or `Unavailable` is raised.

        Raises `OSError` where the file is not there or cannot be opened. With `O_CREAT` its mode is
        0600.
        """
        if self.read_only and flags & (os.O_ACCMODE | os.O_CREAT | os.O_TRUNC):
            msg = f"{self.path} is only to be read"
            raise PermissionError(msg)
        # O_TRUNC would take effect before the file was looked at
        fd = os.open(_plain(name), (flags & ~os.O_TRUNC) | SAFELY, 0o600, dir_fd=self.fd)
        try:
            self._check(fd, name)
            if flags & os.O_TRUNC:
                os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def create(
        self, name: str, size_bytes: int = 0, *, head: bytes = b"", replace: bool = False
    ) -> int:
        """Return a descriptor, for reading and writing, of a new file: `head`, then zeros, with all
        of its space allocated.

        A file that was only made longer takes its space when it is touched: where it is mapped and
        there is none, that is SIGBUS. No other process sees the file before it is complete. Raises
        `FileExistsError`, unless it may `replace` the one of that name, and `Unavailable` without
        room.
        """
        draft = f"{_plain(name)}.{os.getpid()}.{get_ident():x}.new"
        self.unlink(draft)
        fd = self.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            if size_bytes:
                self._allocate(fd, size_bytes)
            os.pwrite(fd, head, 0)
            # unlike rename(), link() replaces nothing
            (os.rename if replace else os.link)(draft, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            os.close(fd)
            raise
        finally:
            self.unlink(draft)
        return fd

    def names(self) -> List[str]:
        """Return the names of what is in it, sorted."""
        # a description of its own: the offset of ours is shared with what this process forks
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | SAFELY, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def unlink(self, name: str) -> bool:
        """Remove a file from it; return whether it was there, and this did it."""
        if self.read_only:
            msg = f"{self.path} is only to be read"
            raise PermissionError(msg)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_plain(name), dir_fd=self.fd)
            return True
        return False

    def still_open(self) -> bool:
        """Return whether `fd` is still this directory, not removed: an app may have closed all
        descriptors.
        """
        try:
            about = os.fstat(self.fd)
        except OSError:
            return False
        return (about.st_dev, about.st_ino) == self._identity and about.st_nlink > 0

    def close(self) -> None:
        """Let go of it; nothing if its descriptor has been reused by now."""
        fd, self.fd = self.fd, -1
        with contextlib.suppress(OSError):
            about = os.fstat(fd)
            if (about.st_dev, about.st_ino) == self._identity:
                os.close(fd)

    def __del__(self) -> None:
        self.close()

    def _check(self, fd: int, name: str) -> None:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != self.owner:
            msg = f"{self.path}/{name} is not a regular file of uid {self.owner}"
            raise Unavailable(msg)

    def _allocate(self, fd: int, size_bytes: int) -> None:
        try:
            allocate(fd, size_bytes)
        except OSError as error:
            place, kib = os.path.dirname(self.path), size_bytes >> 10
            msg = f"no room in {place} for {kib} KiB: {error.strerror}"
            raise Unavailable(msg) from error


def open_private(
    path: str, uid: int, *, read_only: bool = False, follow: bool = False
) -> Optional[Directory]:
    """Return the directory at `path` if it is one, of this user, mode 0700; None if it is anything
    else, or not there.

    `follow` is for the links of /proc/PID/fd, which lead to what is open there. Raises `OSError`
    for other reasons.
    """
    # O_DIRECTORY is looked at before a device or a FIFO would be opened
    flags = os.O_RDONLY | os.O_DIRECTORY | (SAFELY & ~os.O_NOFOLLOW if follow else SAFELY)
    try:
        fd = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError:
        if os.path.islink(path):  # ELOOP
            return None
        raise
    about = os.fstat(fd)
    # a base with the setgid bit hands it on
    if about.st_uid != uid or stat.S_IMODE(about.st_mode) & 0o777 != MODE:
        os.close(fd)
        return None
    return Directory(path, fd, read_only=read_only)


@contextlib.contextmanager
def as_user(uid: int) -> Iterator[None]:
    """Have the rights of a user: for root, who writes to nothing that this user could not write to
    himself. Raises `PermissionError`.
    """
    before = os.geteuid()
    if uid == before:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


def _plain(name: str) -> str:
    if not name or "/" in name or name in (".", ".."):
        msg = f"{name!r} is not the name of a file"
        raise ValueError(msg)
    return name
