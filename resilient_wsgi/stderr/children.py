"""Give children a standard output and error that blocks, as every program expects, although ours
does not any more.

Without it `head` ended with an error after 65 536 of 300 000 bytes, and a Python child lost 236 000
silently. What children get is the description that this process itself was given, where it still
has it. What C code starts (`system(3)`, uWSGI's `attach-daemon`) inherits ours: there is no place
between its fork and its exec.
"""

from __future__ import annotations

import _posixsubprocess
import itertools
import os
import subprocess
from fcntl import F_DUPFD_CLOEXEC
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..core.patching import Patches
from ..core.system import System

# place of c2pwrite and errwrite in what Popen._get_handles returns, and among the arguments of
# _posixsubprocess.fork_exec
PLACES = {1: 3, 2: 5}
FORK_EXEC_PLACES = {1: 9, 2: 11}


Call = Callable[..., Any]


class _Blocking(NamedTuple):
    fd: int
    inode: Tuple[int, int]


_blocking: Dict[int, _Blocking] = {}
_patches = Patches()


def keep(fd: int, system: System) -> None:
    """Keep the description that a descriptor has, for children, before it is replaced."""
    _blocking[fd] = _Blocking(system.fcntl(fd, F_DUPFD_CLOEXEC, 3), _inode(fd))


def reopen(fd: int, system: System) -> None:
    """Open a description for children that blocks, where the one that was given is gone: a reload
    of uWSGI, the exec shim.

    Another user than the one who made the pipe may not: then children get ours.
    """
    try:
        private = system.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    _blocking[fd] = _Blocking(private, _inode(private))


def descriptors() -> Tuple[int, ...]:
    """Return the descriptors that are kept for children."""
    return tuple(blocking.fd for blocking in _blocking.values())


def install() -> None:
    """Have it given to the children that Python code starts, however it does.

    By `subprocess`, `os.system`, `os.spawn*`, `os.posix_spawn*`, and `multiprocessing`'s spawn and
    forkserver. Who forks calls `take_back` in the child.
    """
    _patches.wrap(subprocess.Popen, "_get_handles", _get_handles)
    _patches.wrap(_posixsubprocess, "fork_exec", _fork_exec)
    for name, make in _OF_OS.items():
        _patches.wrap(os, name, make)


def uninstall() -> None:
    """Have children inherit what we have again."""
    _patches.restore()


def take_back() -> bool:
    """Put what blocks in the place of ours, in a process that the app has forked; return whether
    anything was.

    It may write with C code, or execute another program.
    """
    found = [(fd, _for_child(fd, -1)) for fd in _blocking]
    for fd, blocking in found:
        if blocking >= 0:
            os.dup2(blocking, fd, os.get_inheritable(fd))
    return any(blocking >= 0 for _, blocking in found)


def _get_handles(original: Call) -> Call:
    def get_handles(*args: Any, **kwargs: Any) -> Tuple[int, ...]:
        handles = list(original(*args, **kwargs))
        for fd, place in PLACES.items():
            # -1: the child inherits; `stderr=STDOUT` alone gives the number 1
            if handles[place] in (-1, *PLACES):
                handles[place] = _for_child(
                    fd if handles[place] == -1 else handles[place], handles[place]
                )
        return tuple(handles)

    return get_handles


def _fork_exec(original: Call) -> Call:
    # multiprocessing calls it by this name: spawn, forkserver, its resource tracker; subprocess has
    # its own name of it
    def fork_exec(*args: Any) -> int:
        places = list(args)
        for fd, place in FORK_EXEC_PLACES.items():
            if places[place] == -1:
                places[place] = _for_child(fd, -1)
        return int(original(*places))

    return fork_exec


def _posix_spawn(original: Call) -> Call:
    def posix_spawn(*args: Any, **kwargs: Any) -> int:
        # before what the caller has asked for, which may copy from these
        first = [(os.POSIX_SPAWN_DUP2, blocking, fd) for fd, blocking in _for_all()]
        return int(
            original(
                *args, **{**kwargs, "file_actions": [*first, *(kwargs.get("file_actions") or ())]}
            )
        )

    return posix_spawn


def _system(original: Call) -> Call:
    def system(command: Any) -> int:
        if not _for_all():
            return int(original(command))
        # what system(3) does, too, except that it ignores the signals of a keyboard meanwhile
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", os.fsdecode(command)], _environment())
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:  # SIGCHLD is ignored
            return -1

    return system


def _environment() -> Dict[bytes, bytes]:
    """Return C's environment: `os.putenv` and C code change it, and `os.environ` does not show
    that.
    """
    import ctypes

    lines = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    pairs = (
        line.partition(b"=")
        for line in itertools.takewhile(lambda line: line is not None, iter(lines))
    )
    return {name: value for name, _, value in pairs if name}


def _spawnvef(original: Call) -> Call:
    # os.spawn*() fork in Python and call in the child the last argument, one of os.exec*()
    def spawnvef(*args: Any) -> Any:
        *others, execute = args

        def execute_with_blocking(*arguments: Any) -> None:
            for fd, blocking in _for_all():
                os.dup2(blocking, fd)
            execute(*arguments)

        return original(*others, execute_with_blocking)

    return spawnvef


_OF_OS = {
    "posix_spawn": _posix_spawn,
    "posix_spawnp": _posix_spawn,
    "system": _system,
    "_spawnvef": _spawnvef,
}


def _for_all() -> List[Tuple[int, int]]:
    found = [(fd, _for_child(fd, -1)) for fd in PLACES]
    return [(fd, blocking) for fd, blocking in found if blocking >= 0]


def _for_child(fd: int, otherwise: int) -> int:
    # the number may be somebody else's since all unknown descriptors were closed, or ours may have
    # been replaced
    blocking = _blocking.get(fd)
    try:
        if blocking and _inode(blocking.fd) == blocking.inode == _inode(fd):
            return blocking.fd
    except OSError:
        pass
    return otherwise


def _inode(fd: int) -> Tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
