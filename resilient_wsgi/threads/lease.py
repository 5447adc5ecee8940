"""A lease that one process of a server's instance holds, and that is free as soon as its holder is dead."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from typing import Optional, Tuple

from .. import servers
from ..errors import Unavailable


class Lease:
    """A name bound in Linux's abstract socket namespace: the kernel lets one have it and frees it when that one dies.

    Not a file: one in /tmp is cleaned away under its holder, and a descriptor from before the fork does not exist in
    lazy-apps. The name holds the master's pid and its pid namespace, because containers of one pod share a network
    namespace. What the holder forks without exec would keep the name: such a child closes it.
    """

    def __init__(self) -> None:
        self._held: Optional[Tuple[int, socket.socket]] = None
        os.register_at_fork(after_in_child=self.release)

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free; return whether this process has it. Never blocks."""
        if self._held is not None and self._held[0] == os.getpid():
            return True
        if not sys.platform.startswith("linux"):
            msg = "one process of many can be chosen on Linux only"
            raise Unavailable(msg)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(_address(name))
        except OSError:
            sock.close()
            return False
        self._held = (os.getpid(), sock)
        return True

    def release(self) -> None:
        """Give the lease back, if this process has it."""
        held, self._held = self._held, None
        if held is not None:
            held[1].close()


def _address(name: str) -> bytes:
    master = servers.detect().identity().master_pid or os.getpid()
    namespace = os.stat("/proc/self/ns/pid").st_ino
    digest = hashlib.blake2s(name.encode(), digest_size=16).hexdigest()  # an address has room for 107 bytes
    return f"\0resilient_wsgi/{namespace}/{os.getuid()}/{master}/{digest}".encode()
