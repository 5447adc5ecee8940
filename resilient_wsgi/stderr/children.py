"""Give children a standard output and error that block, as every program expects.

This process's own do not block any more. Without this module `head` ended with an error after
65 536 of 300 000 bytes, and a Python child silently lost 236 000. Children get the open file
description that this process was given, if it still has it. What C code starts (`system(3)`,
uWSGI's `attach-daemon`) inherits the non-blocking one: nothing can run between its fork and exec.
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

# positions of c2pwrite and errwrite in what Popen._get_handles returns, and among the arguments of
# _posixsubprocess.fork_exec
HANDLES = {1: 3, 2: 5}
FORK_EXEC_ARGUMENTS = {1: 9, 2: 11}

Call = Callable[..., Any]


class _Blocking(NamedTuple):
    fd: int
    inode: Tuple[int, int]


_blocking: Dict[int, _Blocking] = {}
_patches = Patches()


def keep(fd: int, system: System) -> None:
    """Keep the description of a descriptor for children, before it is replaced."""
    _blocking[fd] = _Blocking(system.fcntl(fd, F_DUPFD_CLOEXEC, 3), _inode(fd))


def reopen(fd: int, system: System) -> None:
    """Open a description that blocks for children, because the original one is gone.

    That is so after a reload of uWSGI and behind `resilient-wsgi exec`. Only the user who made the
    pipe may do this: for another user, children get the non-blocking description.
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
    """Give the blocking descriptors to every child that Python code starts.

    Covers `subprocess`, `os.system`, `os.spawn*`, `os.posix_spawn*`, and `multiprocessing`'s spawn
    and forkserver. A child that is forked without an exec calls `restore_in_child`.
    """
    _patches.wrap(subprocess.Popen, "_get_handles", _get_handles)
    _patches.wrap(_posixsubprocess, "fork_exec", _fork_exec)
    for name, make in _OS_FUNCTIONS.items():
        _patches.wrap(os, name, make)


def uninstall() -> None:
    """Let children inherit the descriptors of this process again."""
    _patches.restore()


def restore_in_child() -> bool:
    """Put blocking descriptors in place in a process that the app forked; return whether any.

    The process may write with C code, or execute another program.
    """
    found = [(fd, _for_child(fd, -1)) for fd in _blocking]
    for fd, blocking in found:
        if blocking >= 0:
            os.dup2(blocking, fd, os.get_inheritable(fd))
    return any(blocking >= 0 for _, blocking in found)


def _get_handles(original: Call) -> Call:
    def get_handles(*args: Any, **kwargs: Any) -> Tuple[int, ...]:
        handles = list(original(*args, **kwargs))
        for fd, position in HANDLES.items():
            handle = handles[position]
            # -1: the child inherits; `stderr=STDOUT` alone gives the number 1
            if handle in (-1, *HANDLES):
                handles[position] = _for_child(fd if handle == -1 else handle, handle)
        return tuple(handles)

    return get_handles


def _fork_exec(original: Call) -> Call:
    # multiprocessing calls it by this name (spawn, forkserver, its resource tracker); subprocess
    # imported it under a name of its own
    def fork_exec(*args: Any) -> int:
        arguments = list(args)
        for fd, position in FORK_EXEC_ARGUMENTS.items():
            if arguments[position] == -1:
                arguments[position] = _for_child(fd, -1)
        return int(original(*arguments))

    return fork_exec


def _posix_spawn(original: Call) -> Call:
    def posix_spawn(*args: Any, **kwargs: Any) -> int:
        # before the actions of the caller, which may copy from these
        first = [(os.POSIX_SPAWN_DUP2, blocking, fd) for fd, blocking in _for_all()]
        actions = [*first, *(kwargs.pop("file_actions", None) or ())]
        return int(original(*args, file_actions=actions, **kwargs))

    return posix_spawn


def _system(original: Call) -> Call:
    def system(command: Any) -> int:
        if not _for_all():
            return int(original(command))
        # as system(3) does, except that it ignores keyboard signals meanwhile
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", os.fsdecode(command)], _environment())
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:  # SIGCHLD is ignored
            return -1

    return system


def _environment() -> Dict[bytes, bytes]:
    """Return C's environment, which `os.putenv` and C code change without `os.environ`."""
    import ctypes

    lines = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    pairs = (
        line.partition(b"=")
        for line in itertools.takewhile(lambda line: line is not None, iter(lines))
    )
    return {name: value for name, _, value in pairs if name}


def _spawnvef(original: Call) -> Call:
    # os.spawn*() fork in Python and call the last argument in the child: one of os.exec*()
    def spawnvef(*args: Any) -> Any:
        *others, execute = args

        def execute_with_blocking(*arguments: Any) -> None:
            for fd, blocking in _for_all():
                os.dup2(blocking, fd)
            execute(*arguments)

        return original(*others, execute_with_blocking)

    return spawnvef


_OS_FUNCTIONS = {
    "posix_spawn": _posix_spawn,
    "posix_spawnp": _posix_spawn,
    "system": _system,
    "_spawnvef": _spawnvef,
}


def _for_all() -> List[Tuple[int, int]]:
    found = [(fd, _for_child(fd, -1)) for fd in HANDLES]
    return [(fd, blocking) for fd, blocking in found if blocking >= 0]


def _for_child(fd: int, otherwise: int) -> int:
    # a process that daemonizes closes all descriptors that it does not know: the number may belong
    # to something else; or our descriptor may have been replaced
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
