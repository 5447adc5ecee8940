"""What outlives a reload of the instance: whether it has ever served, and how many loads in its
master have failed since.

A reload of uWSGI is a new program in the same process: all that the old one had in memory is gone,
its pid and start time are not, and with them the private directory of the instance.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Iterator, NamedTuple

from ..host import procfs
from ..shm import instance
from ..shm.bases import bases
from ..shm.directory import open_private
from ..shm.naming import Name, parse

FILE = "loads"
MOST_BYTES = 256


class History(NamedTuple):
    """What is known of an instance's loads from before its last reload."""

    served: bool = False  # whether any of its workers ever had an app
    failures: int = 0  # of loads in the master, in a row


def read(*, reloaded: bool) -> History:
    """Return the history of the instance whose master this process is. Raises nothing.

    Of one that was reloaded and has left nothing it is taken that it has served: whoever ends it
    for good does more harm than whoever keeps on trying.
    """
    if not reloaded:
        return History()
    with contextlib.suppress(Exception):
        for path in _paths():
            directory = open_private(path, os.geteuid(), read_only=True)
            if directory is not None:
                fd = directory.open(FILE, os.O_RDONLY)
                try:
                    known = json.loads(os.read(fd, MOST_BYTES))
                finally:
                    os.close(fd)
                return History(bool(known["served"]), int(known["failures"]))
    return History(served=True)


def _paths() -> Iterator[str]:
    """Yield where the directory of this master can be: of itself alone, whereas its parent may have
    one of its own.

    Its name may end in what only the program before the reload could know, so it is looked for.
    """
    pid, uid = os.getpid(), os.geteuid()
    mine = Name(uid, procfs.pid_namespace(), pid, procfs.start(pid))
    for folder in bases(os.environ, uid):
        with contextlib.suppress(OSError):
            yield from (
                os.path.join(folder, name) for name in os.listdir(folder) if parse(name) == mine
            )


def forget() -> None:
    """Remove it, and the directory with all that is in it unless a process still has that: the
    instance ends.
    """
    with contextlib.suppress(Exception):
        instance.directory(make=False).unlink(FILE)
        instance.leave()
    instance.end()


def write(history: History) -> bool:
    """Keep it, from a worker; return whether that could be done."""
    # whatever it is, it must not be what ends a load: no directory, no room, no memory
    with contextlib.suppress(Exception):
        fd = instance.directory().open(FILE, os.O_RDWR | os.O_CREAT)
        try:
            text = json.dumps(history._asdict()).encode()
            os.ftruncate(fd, os.pwrite(fd, text, 0))
        finally:
            os.close(fd)
        return True
    return False
