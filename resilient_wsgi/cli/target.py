"""Which running instance a verb looks at: `PID` or `--pidfile FILE`, and the master, from any of
its processes.

Everything here only reads, waits for nothing, and imports little: an exec probe is a process of its
own every few seconds.
"""

from __future__ import annotations

import errno
import os
import stat

from ..core.text import printable
from ..host import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import List, NoReturn, Optional, Set, Tuple

MOST_BYTES = 64  # of a pidfile
_HINTS = {
    errno.ENOENT: "; is the instance running?",
    errno.EACCES: "; run this as the user of the instance, or as root",
}
MOST_LEVELS = 8  # from a worker up to its master


class CannotLook(Exception):
    """The question cannot be answered: exit code 2.

    No such process, no permission, or nothing of ours in it.
    """


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add `PID` and `--pidfile FILE`, of which one must be given, and `--json`."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "pid", nargs="?", type=int, metavar="PID", help="of the master, or of one of its workers"
    )
    target.add_argument(
        "--pidfile",
        metavar="FILE",
        help="with that pid: the server's own option `pidfile`, `--pid`",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, in one line")


def given(arguments: argparse.Namespace) -> int:
    """Return the pid that the arguments name, of a process that may be looked at.

    Raises `CannotLook`.
    """
    pid = pid_of(arguments)
    check(pid)
    return pid


def pid_of(arguments: argparse.Namespace) -> int:
    """Return the pid that the arguments name, of a process or not. Raises `CannotLook`."""
    return int(arguments.pid) if arguments.pid is not None else read_pidfile(arguments.pidfile)


def master(arguments: argparse.Namespace) -> int:
    """Return the pid of the master of the instance that the arguments name. Raises `CannotLook`."""
    return master_of(given(arguments))


def read_pidfile(path: str) -> int:
    """Return the pid in a file. Raises `CannotLook`."""
    try:
        # a FIFO would have us wait
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        msg = f"pidfile {path}: {error.strerror}{hint}"
        raise CannotLook(msg) from None
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        text = os.read(fd, MOST_BYTES).decode("ascii", "replace").strip() if regular else ""
    finally:
        os.close(fd)
    if not text.isdigit():
        msg = (
            f"pidfile {path} holds {text!r}, not a pid"
            if regular
            else f"pidfile {path} is no regular file"
        )
        raise CannotLook(msg)
    return int(text)


def check(pid: int) -> None:
    """Raise `CannotLook` unless the process runs and this user may look into it."""
    if pid <= 0 or not _exists(pid):
        msg = f"there is no process {pid}"
        raise CannotLook(msg)
    about = procfs.stat(pid)
    if about is not None and not about.runs:
        msg = f"process {pid} has ended, and its parent has not taken note of it yet"
        raise CannotLook(msg)
    try:
        procfs.fds(pid)
    except FileNotFoundError:
        msg = "/proc is not mounted here"
        raise CannotLook(msg) from None
    except OSError:  # hidden, perhaps: /proc mounted with hidepid
        no_permission(pid)


def no_permission(pid: int) -> NoReturn:
    """Raise `CannotLook` that names the process, its user, and what to do."""
    uid, remedy = procfs.uid(pid), "run this as that user, or as root"
    if uid == os.geteuid():  # the kernel protects what has changed its user since its exec
        remedy = (
            "it has changed its user or its capabilities since it was started: run this as root"
        )
    as_user = f", which runs as {_user_name(uid)}" if uid >= 0 else ""
    msg = f"no permission to look at process {pid}{name_of(pid)}{as_user}: {remedy}"
    raise CannotLook(msg)


def master_of(pid: int) -> int:
    """Return the process from which this one was forked to serve: itself, if it is the master.

    Known by what a fork leaves as it was: the program, the address of its stack (random for each
    exec), and a listening socket in common. So neither a shell, an emperor, nor a supervisor is
    taken for a master. Raises `CannotLook` where that parent may not be looked at.
    """
    for _ in range(MOST_LEVELS):
        about = procfs.stat(pid)
        if about is None or not about.ppid or not _forked_from(about.ppid, pid):
            break
        pid = about.ppid
    return pid


def family(pid: int) -> List[int]:
    """Return a process and those of its descendants that were forked from it, as workers are, in
    the order of their pids.
    """
    found = [pid]
    for each in found:
        children = procfs.children(each)
        program = _program(each) if children else None
        found += [child for child in children if program and _program(child) == program]
    return [pid, *sorted(found[1:])]


def not_ours(pid: int, gunicorn: str = "ask /-/ready over HTTP") -> NoReturn:
    """Raise `CannotLook` for a process in which nothing of this library was found, saying what it
    is, and what to do instead.

    `gunicorn` is what does under gunicorn what was asked for.
    """
    msg = (
        f"process {pid}{name_of(pid)} runs no instance with `shared-import = resilient_wsgi.uwsgi`"
    )
    if is_gunicorn(pid):
        msg = (
            f"process {pid}{name_of(pid)} is gunicorn's, and this is for uWSGI; "
            f"under gunicorn {gunicorn}"
        )
    raise CannotLook(msg)


def is_gunicorn(pid: int) -> bool:
    """Return whether a process runs gunicorn."""
    return "gunicorn" in procfs.cmdline(pid)


def name_of(pid: int) -> str:
    """Return ` (command)` of a process, `""` where it is not known.

    Its text is escaped: a process chooses its own.
    """
    text = printable(procfs.name(pid))
    return f" ({text})" if text else ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _user_name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def _forked_from(parent: int, pid: int) -> bool:
    program = _program(pid)
    if program is None or _program(parent) != program:
        return False
    shared = _sockets(parent) & _sockets(pid)
    return bool(shared) and bool(shared & _listening())


def _program(pid: int) -> Optional[Tuple[int, str]]:
    """Return what a fork has in common with its parent, None if that cannot be seen: the address of
    the stack, random for each exec, and the program.
    """
    about, program = procfs.stat(pid), procfs.exe(pid)
    if about is None or not about.stack_start or not program:
        return None
    return about.stack_start, program


def _sockets(pid: int) -> Set[int]:
    try:
        return set(procfs.socket_inodes(pid))
    except PermissionError:
        no_permission(pid)
    except OSError:
        return set()


def _listening() -> Set[int]:
    from ..host import sockets

    return sockets.listening_inodes()
