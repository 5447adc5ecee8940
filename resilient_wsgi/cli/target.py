"""Which running instance a verb looks at: `PID` or `--pidfile FILE`, and the master, from any of
its processes.

Everything here only reads, waits for nothing, and imports little: an exec probe is a process of its
own every few seconds.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ..core.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Iterator, List, NoReturn, Set

MOST_BYTES = 64  # of a pidfile
_HINTS = {
    errno.ENOENT: "; is the instance running?",
    errno.EACCES: "; run this as the user of the instance, or as root",
}
MOST_LEVELS = 8  # from a worker up to its master


class CannotLook(Exception):
    """What was asked for cannot be told: exit code 2.

    No such process, no permission, or nothing of ours in it.
    """


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add `PID` and `--pidfile FILE`, of which one must be given."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "pid", nargs="?", type=int, metavar="PID", help="of the master, or of one of its workers"
    )
    target.add_argument(
        "--pidfile",
        metavar="FILE",
        help="with that pid: the server's own option `pidfile`, `--pid`",
    )


def given(arguments: argparse.Namespace) -> int:
    """Return the pid that the arguments name, of a process that may be looked at.

    Raises `CannotLook`.
    """
    pid = int(arguments.pid) if arguments.pid is not None else read_pidfile(arguments.pidfile)
    check(pid)
    return pid


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
    if _fields(pid)[:1] in (["Z"], ["X"]):
        msg = f"process {pid} has ended, and its parent has not taken note of it yet"
        raise CannotLook(msg)
    try:
        os.listdir(f"/proc/{pid}/fd")
    except OSError:
        if os.path.isdir("/proc/self"):  # hidden, perhaps: /proc mounted with hidepid
            no_permission(pid)
        msg = "/proc is not mounted here"
        raise CannotLook(msg) from None


def no_permission(pid: int) -> NoReturn:
    """Raise `CannotLook` that names the process, its user, and what to do."""
    uid, remedy = uid_of(pid), "run this as that user, or as root"
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
        parent = _parent(pid)
        if not parent or not _forked_from(parent, pid):
            break
        pid = parent
    return pid


def family(pid: int) -> List[int]:
    """Return a process and those of its descendants that were forked from it, as workers are, in
    the order of their pids.
    """
    found = [pid]
    for each in found:
        found += [child for child in _children(each) if _same_program(each, child)]
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
        msg = f"process {pid}{name_of(pid)} is gunicorn's, and this is for uWSGI; under gunicorn {gunicorn}"
    raise CannotLook(msg)


def is_gunicorn(pid: int) -> bool:
    """Return whether a process runs gunicorn."""
    return b"gunicorn" in _read(pid, "cmdline")


def name_of(pid: int) -> str:
    """Return ` (command)` of a process, `""` where it is not known.

    Its text is escaped: a process chooses its own.
    """
    text = printable(_read(pid, "comm").strip().decode("utf-8", "replace"))
    return f" ({text})" if text else ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def uid_of(pid: int) -> int:
    """Return the effective user id of a process, -1 if it is gone."""
    # the folder of what the kernel protects belongs to root
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[2])
    return -1


def inner_pid(pid: int) -> int:
    """Return the pid that a process has in its own pid namespace."""
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return pid


def _user_name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def _fields(pid: int) -> List[str]:
    """Return the fields of proc(5)'s stat from the third on, the state; none if the process is
    gone.
    """
    # the name of the command stands in brackets and may hold anything
    return _read(pid, "stat").rpartition(b")")[2].decode("ascii", "replace").split()


def _read(pid: int, name: str) -> bytes:
    with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
    return b""


def _parent(pid: int) -> int:
    fields = _fields(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def _forked_from(parent: int, pid: int) -> bool:
    if not _same_program(parent, pid):
        return False
    shared = _sockets(parent) & _sockets(pid)
    return bool(shared) and bool(shared & _listening())


def _same_program(parent: int, pid: int) -> bool:
    mine, its = _stack_start(pid), _stack_start(parent)
    if not mine or mine != its:
        return False
    with suppress(OSError):
        return os.readlink(f"/proc/{parent}/exe") == os.readlink(f"/proc/{pid}/exe")
    return False


def _stack_start(pid: int) -> int:
    """Return proc(5)'s field 28, startstack; 0 where it may not be seen."""
    fields = _fields(pid)
    return int(fields[25]) if len(fields) > 25 else 0


def _sockets(pid: int) -> Set[int]:
    found = set()
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except PermissionError:
        no_permission(pid)
    except OSError:
        return set()
    for name in names:
        with suppress(OSError):  # closed meanwhile
            target = os.readlink(f"{folder}/{name}")
            if target.startswith("socket:["):
                found.add(int(target[len("socket:[") : -1]))
    return found


def _listening() -> Set[int]:
    from ..host import listen_queue

    return listen_queue.listening_inodes()


def tasks(pid: int) -> List[str]:
    """Return the numbers of a process's threads, none if it is gone."""
    return _list(f"/proc/{pid}/task")


def _children(pid: int) -> Iterator[int]:
    for task in _list(f"/proc/{pid}/task"):
        yield from map(int, _read(pid, f"task/{task}/children").split())


def _list(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
