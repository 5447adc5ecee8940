"""Space for what is mapped: a page that is not there when it is touched is SIGBUS, not an
exception.
"""

from __future__ import annotations

import os


def allocate(fd: int, size_bytes: int) -> None:
    """Make a file at least that long, with all of its space there.

    Raises `OSError` without room, and changes nothing then.

    Not exact where the file system copies on write (btrfs, ZFS).
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size_bytes)
    else:  # macOS
        size = os.fstat(fd).st_size
        os.pwrite(fd, bytes(max(0, size_bytes - size)), size)
