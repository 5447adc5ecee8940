"""What tells an exec probe that readiness is not on in an instance, and why: memory with a name, as
the board is.

Without it such an instance would look like one without the library, of which a probe can tell
nothing: Kubernetes would end every pod because of a switch that is there to make things calm.
"""

from __future__ import annotations

import contextlib
import os

from ..host import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

NAME = "resilient_wsgi_unwatched"
MOST_BYTES = 512


class Mark:
    """The mark that this process holds, if it does.

    It goes with the program: a reload of uWSGI makes its own.
    """

    def __init__(self) -> None:
        self._fd: Optional[int] = None

    def put(self, why: str) -> None:
        """Say why from now on, `""` that readiness is on. What cannot be said is left out."""
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):
            if fd is not None and procfs.link(procfs.SELF, fd).startswith(f"/memfd:{NAME}"):
                os.close(fd)  # else the app has closed it, and opened something of its own there
            if why and hasattr(os, "memfd_create"):
                self._fd = os.memfd_create(NAME)
                os.write(self._fd, why.encode(errors="replace")[:MOST_BYTES])


mark = Mark()


def read(master: int) -> str:
    """Return why readiness is not on in the instance with that master, `""` where nothing says so."""
    from . import glance

    try:
        fd = glance.open_memory(master, NAME, os.O_RDONLY)
    except glance.NoBoard:
        return ""
    try:
        return os.pread(fd, MOST_BYTES, 0).decode(errors="replace")
    finally:
        os.close(fd)
