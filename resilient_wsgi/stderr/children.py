"""Give children a standard output and error that blocks, as every program expects, although ours does not any more.

Without it `head` ended with an error after 65 536 of 300 000 bytes, and a Python child lost 236 000 silently.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any, Dict, NamedTuple, Tuple

import wrapt

from ..system import System

# place of c2pwrite and errwrite in what Popen._get_handles returns
PLACES = {1: 3, 2: 5}


class _Blocking(NamedTuple):
    fd: int
    inode: Tuple[int, int]


_blocking: Dict[int, _Blocking] = {}
_patched = False


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
    """Have `subprocess.Popen` give it to children that are to inherit ours. What others start (`os.system`) inherits ours."""
    global _patched
    if not _patched:
        wrapt.wrap_function_wrapper(subprocess, "Popen._get_handles", _get_handles)
        _patched = True


def uninstall() -> None:
    """Have children inherit what we have again."""
    global _patched
    current = subprocess.Popen.__dict__["_get_handles"]
    if _patched and isinstance(current, wrapt.FunctionWrapper):
        setattr(subprocess.Popen, "_get_handles", current.__wrapped__)  # noqa: B010 - the type stubs do not know it
        _patched = False


def _get_handles(wrapped: Any, _instance: object, args: Any, kwargs: Any) -> Any:
    handles = list(wrapped(*args, **kwargs))
    for fd, place in PLACES.items():
        if handles[place] in (-1, *PLACES):  # -1: the child inherits; `stderr=STDOUT` alone gives the number 1
            handles[place] = _for_child(fd if handles[place] == -1 else handles[place], handles[place])
    return tuple(handles)


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
