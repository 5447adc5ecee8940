"""Have the doctor look at a running uWSGI in a short-lived process of its own.

In the worker that asks, its modules would stay for as long as the worker lives: 3 to 4 MiB, which
Python does not give back. Not forked: a fork copies locks that other threads hold, and descriptors
on which the server listens. Not by `subprocess` either: gevent's takes over SIGCHLD.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Iterator, Mapping, Optional

from ..core.system import SYSTEM

LOOK_AGAIN = 0.02
"""Seconds between two looks at whether the process has answered."""
MOST_SECONDS = 30
"""After so many it ends itself, even if the worker is gone by then."""
_MOST_BYTES = 64 * 1024
# its own variable, which only its user can read: options may hold secrets, and everybody sees the
# arguments of a process
_VARIABLE = "_RESILIENT_WSGI_EXAMINED"
_CODE = f"""
import os, signal, sys
signal.alarm({MOST_SECONDS})
os.nice(10)
sys.path.insert(0, sys.argv[1])
from {__name__} import answer
answer()
"""
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def line(
    options: Mapping[str, str], versions: Mapping[str, str], seconds: float = MOST_SECONDS
) -> str:
    """Return what `running` finds in these options, in one line; `""` if that is nothing, if it
    takes longer than so many seconds, or if no process can be started.
    """
    program = interpreter()
    if program is None:
        return ""
    ours, theirs = os.pipe()
    try:
        os.set_blocking(ours, False)
        pid = _start(program, theirs, json.dumps([dict(options), dict(versions)]))
    except OSError:  # this user may have no more processes, or none at all
        os.close(ours)
        return ""
    finally:
        os.close(theirs)
    try:
        return _read(ours, SYSTEM.monotonic() + seconds)
    finally:
        os.close(ours)
        _end(pid)


def interpreter() -> Optional[str]:
    """Return the program of this Python, None if there is none: `sys.executable` may be uWSGI."""
    name = "python{}.{}".format(*sys.version_info)
    prefixes = (sys.prefix, sys.base_prefix)
    for path in (sys.executable, *(os.path.join(prefix, "bin", name) for prefix in prefixes)):
        if os.path.basename(path or "").startswith("python") and os.access(path, os.X_OK):
            return path
    return None


def answer() -> None:
    """Write the line, in the process of its own."""
    from . import running

    options, versions = json.loads(os.environ.pop(_VARIABLE))
    text = running.line(running.findings(options, versions), options.get("ini", ""))
    sys.stdout.buffer.write(text.encode())


def _start(program: str, output: int, examined: str) -> int:
    actions = [
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
    ]
    return os.posix_spawn(
        program,
        # -I: what lies in the app's folder is not taken for a module of Python's
        [program, "-I", "-c", _CODE, _ROOT],
        {**os.environ, _VARIABLE: examined},
        file_actions=actions,
        setsigmask=(),
    )


def _inherited() -> Iterator[int]:
    """Yield what would stay open in it: sockets on which uWSGI listens, among others."""
    with contextlib.suppress(OSError):
        for fd in map(int, os.listdir("/dev/fd")):
            with contextlib.suppress(OSError):  # that of the listing itself
                if fd > 2 and os.get_inheritable(fd):
                    yield fd


def _read(fd: int, end: float) -> str:
    """Return all that is written to a pipe, "" if that has not ended by then."""
    text = b""
    while SYSTEM.monotonic() < end and len(text) < _MOST_BYTES:
        try:
            piece = os.read(fd, _MOST_BYTES)
        except BlockingIOError:
            SYSTEM.sleep(LOOK_AGAIN)
            continue
        if not piece:
            return text.decode("utf-8", "replace")
        text += piece
    return ""


def _end(pid: int) -> None:
    """Have it be over, and no zombie. One that the kernel does not let go is left alone."""
    with contextlib.suppress(OSError):  # the app may wait for all its children, or ignore SIGCHLD
        for attempt in range(50):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            if attempt == 5:
                os.kill(pid, signal.SIGKILL)
            SYSTEM.sleep(LOOK_AGAIN)
