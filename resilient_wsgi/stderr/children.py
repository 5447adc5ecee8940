"""Give children a standard output and error that blocks, as every program expects, although ours does not any more.

Without it `head` ended with an error after 65 536 of 300 000 bytes, and a Python child lost 236 000 silently.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any, Dict, List, NamedTuple, Tuple

import wrapt

from ..system import System

# place of c2pwrite and errwrite in what Popen._get_handles returns
PLACES = {1: 3, 2: 5}


class _Blocking(NamedTuple):
    fd: int
    inode: Tuple[int, int]


_blocking: Dict[int, _Blocking] = {}
_patches: List[Tuple[Any, str]] = []


def remember(fd: int, system: System) -> None:
    """Open a description for children that blocks, while we may: after setuid it would be refused."""
    if fd not in PLACES:
        return
    try:
        private = system.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    _blocking[fd] = _Blocking(private, _inode(private))


def descriptors() -> Tuple[int, ...]:
    """Return the descriptors that are kept for children."""
    return tuple(blocking.fd for blocking in _blocking.values())


def install() -> None:
    """Have it given to the children that `subprocess`, `os.system`, `os.spawn*` and `os.posix_spawn*` start.

    What C code starts inherits ours.
    """
    if not _patches:
        wrapt.wrap_function_wrapper(subprocess, "Popen._get_handles", _get_handles)
        _patches.append((subprocess.Popen, "_get_handles"))
        for name, wrapper in _OF_OS.items():
            if hasattr(os, name):
                wrapt.wrap_function_wrapper(os, name, wrapper)
                _patches.append((os, name))


def uninstall() -> None:
    """Have children inherit what we have again."""
    for owner, name in _patches:
        current = vars(owner)[name]
        if isinstance(current, wrapt.FunctionWrapper):
            setattr(owner, name, current.__wrapped__)
    _patches.clear()


def _get_handles(wrapped: Any, _instance: object, args: Any, kwargs: Any) -> Any:
    handles = list(wrapped(*args, **kwargs))
    for fd, place in PLACES.items():
        if handles[place] in (-1, *PLACES):  # -1: the child inherits; `stderr=STDOUT` alone gives the number 1
            handles[place] = _for_child(fd if handles[place] == -1 else handles[place], handles[place])
    return tuple(handles)


def _posix_spawn(wrapped: Any, _instance: object, args: Any, kwargs: Any) -> Any:
    # before what the caller has asked for, which may copy from these
    first = [(os.POSIX_SPAWN_DUP2, blocking, fd) for fd, blocking in _for_all()]
    return wrapped(*args, **{**kwargs, "file_actions": [*first, *(kwargs.get("file_actions") or ())]})


def _system(wrapped: Any, _instance: object, args: Any, kwargs: Any) -> Any:
    if not _for_all():
        return wrapped(*args, **kwargs)
    command = os.fsdecode(args[0] if args else kwargs["command"])
    # what system(3) does, too, except that it ignores the signals of a keyboard meanwhile
    return os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", command], os.environ), 0)[1]


def _spawnvef(wrapped: Any, _instance: object, args: Any, kwargs: Any) -> Any:
    # os.spawn*() fork in Python and call in the child the last argument, one of os.exec*()
    *others, execute = args

    def execute_with_blocking(*arguments: Any) -> None:
        for fd, blocking in _for_all():
            os.dup2(blocking, fd)
        execute(*arguments)

    return wrapped(*others, execute_with_blocking, **kwargs)


_OF_OS = {"posix_spawn": _posix_spawn, "posix_spawnp": _posix_spawn, "system": _system, "_spawnvef": _spawnvef}


def _for_all() -> List[Tuple[int, int]]:
    found = [(fd, _for_child(fd, -1)) for fd in PLACES]
    return [(fd, blocking) for fd, blocking in found if blocking >= 0]


def _for_child(fd: int, otherwise: int) -> int:
    # the number may be somebody else's since all unknown descriptors were closed, or ours may have been replaced
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
