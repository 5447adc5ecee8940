"""A lease that one process of a server's instance holds, and that is free as soon as its holder is
dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import Optional, Tuple

from ..core.system import this_process
from . import instance
from .naming import file_name


class Lease:
    """A lock on a file in the private directory of the instance: the kernel frees it when its
    holder dies.

    Not a name in the abstract socket namespace, which has no owners: any local user could take it
    first, and then the job would run nowhere. What the holder forks without exec would keep the
    lock: such a child closes it.
    """

    def __init__(self) -> None:
        # the process, the name of the file, its descriptor: not `PerProcess`, because a child has
        # to find, and close, what its parent holds
        self._held: Optional[Tuple[object, str, int]] = None
        os.register_at_fork(after_in_child=self._let_go)

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free; return whether this process has it. Never blocks.

        Raises `Unavailable` where the instance has no private directory.
        """
        if self._is_mine():
            return True
        # a number from the name, which may be anything
        number = int.from_bytes(hashlib.blake2s(name.encode(), digest_size=8).digest(), "big")
        file = file_name("lease", number)
        fd = instance.directory().open(file, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # else its last holder has removed it between our two calls
            free = os.fstat(fd).st_nlink > 0
        except OSError:
            free = False
        if not free:
            os.close(fd)
            return False
        self._held = (this_process(), file, fd)
        return True

    def release(self) -> None:
        """Give the lease back, if this process has it."""
        if self._held is not None and self._is_mine():
            with contextlib.suppress(Exception):  # the directory is gone
                instance.directory(make=False).unlink(self._held[1])
        self._let_go()

    def _is_mine(self) -> bool:
        return self._held is not None and self._held[0] is this_process()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held[2])
