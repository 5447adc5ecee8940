"""The private directory of this instance and user, in which all its processes share files.

It outlives each of them, because in lazy-apps without `shared-import`, and under gunicorn, nothing
of ours runs in the master. Each process that uses it holds a shared lock on it: what is not held
and whose master is gone, the next instance of the same user sweeps. A child that was forked without
exec holds it, too, until it ends: it is only swept later then.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import time
from typing import Dict, Iterator, List, Optional, Tuple

from .. import servers
from ..errors import Unavailable
from ..host import procfs
from ..servers.base import MASTER
from .directory import MODE, Directory, as_user, open_private
from .finding import find
from .folders import bases
from .naming import Name, gone, parse

__all__ = ["Directory", "directory", "find", "leave", "sweep"]

ATTEMPTS = 20
PAUSE = 0.005
LEAVE_ATTEMPTS = 3
MOST_NAMES = 20_000  # in a folder that another user has filled


class _Own:
    """The directory that this process has; by pid and user, because a fork and a `setuid` each make
    it another one.
    """

    def __init__(self) -> None:
        self._key: Tuple[int, ...] = ()
        self._directory: Optional[Directory] = None

    def get(self, *, make: bool, as_root: bool = False) -> Directory:
        """Return it, opened or made if need be.

        Takes no lock: one that was held during a fork would be held for ever.
        """
        euid, identity = os.geteuid(), servers.detect().identity()
        key = (identity.pid, euid, identity.master_pid)
        mine = self._directory
        if mine is not None and self._key == key and mine.still_open():
            return mine
        if identity.role == MASTER and not euid and not as_root:
            msg = "the master is root, and its workers may be another user: they make the directory"
            raise Unavailable(msg)
        master = identity.master_pid or identity.pid
        found = _join(Name(euid, procfs.pid_namespace(), master, procfs.start(master)), make=make)
        self._key, self._directory = key, found
        if mine is not None:
            mine.close()
        return found

    def leave(self, *names: str) -> None:
        """Let go of it. If this process was the last that had it, remove the files of these names,
        and the directory if it is empty then.
        """
        mine, self._key, self._directory = self._directory, (), None
        if mine is not None and mine.still_open():
            with contextlib.suppress(OSError):  # something is in it
                if _alone(mine):
                    for name in names:
                        mine.unlink(name)
                    os.rmdir(mine.path)
            with contextlib.suppress(OSError):
                fcntl.flock(mine.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # closed with the last reference to it: parts of this process that have not ended yet may
        # use it


_own = _Own()


def directory(*, make: bool = True) -> Directory:
    """Return the private directory of this process's instance and user.

    Raises `Unavailable`, with the reason.

    Without `make` it has to be there already. Not to be kept: ask again in each process, and after
    a change of user. Takes at most a tenth of a second.
    """
    return _own.get(make=make)


def of_workers(uid: Optional[int]) -> Directory:
    """Return the directory of this instance's workers, for a master before its first fork.

    A master that is root makes it as their user, where that is known; else it is its own. Raises
    `Unavailable`, `OSError`.
    """
    if not os.geteuid() and uid:
        with contextlib.suppress(PermissionError), as_user(uid):
            return _own.get(make=True)
    return _own.get(make=True, as_root=True)


def leave(*names: str) -> None:
    """Let go of the directory, in an orderly end of this process. The last one that does removes
    it, with the files of these names.

    Who asks for it again has it again.
    """
    _own.leave(*names)


def sweep() -> None:
    """Remove this user's directories that no process holds and whose master is gone. Raises
    nothing.

    Whether a master of another pid namespace lives cannot be seen from here: there only the lock
    counts.
    """
    euid, here = os.geteuid(), procfs.pid_namespace()
    for folder in bases(os.environ, euid):
        for filename in _listed(folder):
            name = parse(filename)
            if name and name.uid == euid and (name.namespace != here or gone(name)):
                with contextlib.suppress(OSError):
                    _remove(os.path.join(folder, filename), euid)


def end() -> None:
    """Remove this master's directories with all that is in them, unless a process still has one.

    Raises nothing.

    For the end of a master: workers cannot tell that from a reload, after which the files are
    wanted.
    """
    _own.leave()
    for path, name in _of_this_master():
        with contextlib.suppress(OSError), as_user(name.uid):
            _remove(path, name.uid)


def others_of_this_master(directory: Directory) -> Iterator[Directory]:
    """Yield the other directories of this process and the user of this one, to be read.

    The name of one may end in what only the program before a reload could know.
    """
    for path, name in _of_this_master():
        if path != directory.path and name.uid == directory.owner:
            with contextlib.suppress(OSError):
                found = open_private(path, name.uid, read_only=True)
                if found is not None:
                    yield found


def _of_this_master() -> Iterator[Tuple[str, Name]]:
    """Yield where directories of this master are, and their names: of its own user, and, if it is
    root, of others.
    """
    uid, master, space = os.geteuid(), os.getpid(), procfs.pid_namespace()
    start = procfs.start(master)
    for folder in bases(os.environ, uid):
        for filename in _listed(folder):
            name = parse(filename)
            if name and name[1:] == (space, master, start) and (not uid or name.uid == uid):
                yield os.path.join(folder, filename), name


def _alone(mine: Directory) -> bool:
    """Return whether no other process holds it.

    All workers end at the same time, and the last one has to see that it is the last.
    """
    for _ in range(LEAVE_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(mine.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        fcntl.flock(mine.fd, fcntl.LOCK_UN)
        time.sleep(PAUSE)
    return False


def _join(name: Name, *, make: bool) -> Directory:
    reasons: Dict[str, str] = {}
    for _ in range(ATTEMPTS):
        with contextlib.suppress(_Vanished):
            # wherever it is already: another process may have met a folder that was full
            for path in _paths(name):
                found = _open(path, name.uid)
                if found is not None:
                    return found
            for path in _paths(name) if make else ():
                found = _make(path, name.uid, reasons)
                if found is not None:
                    sweep()
                    return found
            break
        time.sleep(PAUSE)
    why = "; ".join(reasons.values()) or ("there is no folder for it" if make else "none was made")
    msg = f"no private directory for shared files: {why}"
    raise Unavailable(msg)


def _paths(name: Name) -> Iterator[str]:
    for folder in bases(os.environ, name.uid):
        for spelling in name.spellings:
            yield os.path.join(folder, spelling)


def _make(path: str, uid: int, reasons: Dict[str, str]) -> Optional[Directory]:
    try:
        os.mkdir(path, MODE)
    except FileExistsError:  # by another worker just now, or it is not ours
        reasons[path] = f"{path} belongs to another user"
    except OSError as error:
        reasons[os.path.dirname(path)] = f"{os.path.dirname(path)}: {error.strerror}"
        return None
    return _open(path, uid)


def _open(path: str, uid: int) -> Optional[Directory]:
    """Return the directory with our share of its lock.

    Raises `_Vanished` if it is being removed just now.
    """
    try:
        found = open_private(path, uid)
    except OSError:
        return None
    if found is None:
        return None
    try:
        fcntl.flock(found.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        found.close()
        raise _Vanished from error
    if not found.still_open():
        found.close()
        raise _Vanished
    return found


class _Vanished(Exception):
    """The directory was removed between the opening and the lock."""


def _remove(path: str, uid: int) -> None:
    old = open_private(path, uid)
    if old is not None:
        try:
            fcntl.flock(old.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in old.names():
                old.unlink(name)
            os.rmdir(path)
        finally:
            old.close()


def _listed(folder: str) -> List[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in itertools.islice(entries, MOST_NAMES)]
    except OSError:
        return []
