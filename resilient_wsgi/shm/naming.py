"""The names of private directories (whose, in which pid namespace, of which master), and of the
files in them (what, then numbers: `stacks-4711-44`).
"""

from __future__ import annotations

import os
import re
from collections import namedtuple

from ..host import procfs

# not from typing: importing that takes an exec probe 2 ms
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

PREFIX = "resilient_wsgi"
_NUMBER = re.compile("0|[1-9][0-9]{0,18}")
_NAME = re.compile(PREFIX + r"-([0-9]+)-([0-9]+)-([0-9]{1,9})-([0-9]+)(?:-[0-9a-f]{16})?")


class Name(namedtuple("Name", "uid namespace master_pid start")):  # noqa: PYI024 - as above
    """Effective user, inode of the pid namespace, pid of the master in it, when that was started
    (clock ticks).

    Containers that share /dev/shm have the same pids; a pid is used again, never within one tick.
    0: not known.
    """

    __slots__ = ()
    uid: int
    namespace: int
    master_pid: int
    start: int

    @property
    def spellings(self) -> Tuple[str, str]:
        """Return the name, and the one to use where another user has taken it.

        All processes of an instance are forked from one that had set up Python, so they share the
        key of its hashes; other users do not know it. (With a fixed PYTHONHASHSEED they can, and
        who takes both names has them.)
        """
        import hashlib  # takes 2 ms, and exec probes need no names but those that are there

        name = f"{PREFIX}-{self.uid}-{self.namespace}-{self.master_pid}-{self.start}"
        suffix = hashlib.blake2s(repr(hash(name)).encode(), digest_size=8).hexdigest()
        return name, f"{name}-{suffix}"


def file_name(what: str, *numbers: int) -> str:
    """Return the name of a file in a private directory: what it holds, then whose it is."""
    return "-".join((what, *map(str, numbers)))


def file_numbers(name: str, what: str, count: int) -> Optional[Tuple[int, ...]]:
    """Return the numbers in the name of a file; None if it is of another kind, or not ours."""
    kind, *numbers = name.split("-")
    if kind != what or len(numbers) != count or not all(map(_NUMBER.fullmatch, numbers)):
        return None
    return tuple(map(int, numbers))


def parse(name: str) -> Optional[Name]:
    """Return what a name says, None if it is not one of ours."""
    match = _NAME.fullmatch(name)
    return Name(*map(int, match.groups())) if match else None


def gone(name: Name) -> bool:
    """Return whether the master of that name is gone.

    Only of use for names of our own pid namespace.
    """
    try:
        os.kill(name.master_pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's; /proc may be hidden from us (hidepid)
        pass
    now = procfs.start(name.master_pid)
    return bool(now and now != name.start)
