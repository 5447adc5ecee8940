"""Start a server with a standard output and error that cannot block: `resilient-wsgi exec -- uwsgi
--ini uwsgi.ini`.

uWSGI's C code writes to the descriptors themselves, so they are taken over: for its master, its
log-master and logger threads, and workers that change their user (which may not open the pipe
themselves any more). A server that is a Python program of this environment (gunicorn, granian,
waitress) gets streams that cannot block, in the process that its workers are forked from, and
descriptors that block, as its children expect.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Dict, List, Optional

from .. import servers
from ..core.system import SYSTEM
from ..errors import Unavailable
from ..host.descriptors import PIPE, SOCKET, kind_of
from ..stderr.standard_streams import replacements
from ..stderr.takeover import take_over
from . import exec_command, output

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells have it
EXIT_CODES = {
    2: "no command was given",
    NOT_EXECUTABLE: "the command cannot be executed",
    NOT_FOUND: "there is no such command",
}
JSON: Dict[str, str] = {}  # the command's output is its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--share",
        action="store_true",
        help="change what others share if it cannot be opened again: O_NONBLOCK for another "
        "user's pipe, a limit for how long a write to a socket waits",
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="make the descriptors themselves non-blocking for a command that is not uWSGI; a "
        "program that does not expect that (a shell, any Python without this library) loses what "
        "it writes to a slow reader",
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="do not have uWSGI import this library: for one that runs no Python, or cannot find "
        "the library",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="the server and its arguments, after --"
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the server; return only if there is none: 126, 127, or 2 without a command.

    Where nothing can be taken over a warning is written, and the server started all the same: a
    service that runs is worth more.
    """
    command: List[str] = (
        arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    )
    if not command:
        _warn("needs a command: resilient-wsgi exec -- uwsgi --ini uwsgi.ini")
        return 2
    script = (
        None
        if arguments.take_over or exec_command.is_uwsgi(command)
        else exec_command.python_program(command)
    )
    if script is not None:
        return _run_here(script)
    if arguments.take_over or exec_command.is_uwsgi(command):
        _take_over(arguments.share)
    elif _can_block():
        _warn(
            f"{command[0]} is neither uWSGI nor a Python program of "
            f"{os.path.dirname(sys.executable)}: it can still be blocked by its log. "
            "Fix: put `resilient-wsgi exec --` before the server itself, or add --take-over"
        )
    if not arguments.bare:
        _have_it_imported()
    return _execute(command)


def _run_here(script: exec_command.PythonProgram) -> int:
    replacements.replace(both=True)
    servers.use(None)  # the server is to be found when it is there
    script.run()
    return 0


def _take_over(share: bool) -> None:
    try:
        take_over(share=share)
    except Unavailable as reason:
        _warn(f"{reason}; the server can still be blocked by its log")


def _can_block() -> bool:
    return any(_kind(fd) in (PIPE, SOCKET) for fd in (1, 2))


def _kind(fd: int) -> Optional[str]:
    try:
        return kind_of(fd, SYSTEM)
    except OSError:
        return None


def _execute(command: List[str]) -> int:
    # Python ignores it, and an ignored signal stays so through exec: the server is to have what it
    # would have had
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is what it is for
    except OSError as error:
        _warn(f"{command[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def _have_it_imported() -> None:
    """Have uWSGI make Python's own streams safe, too: they raise `BlockingIOError` into a view when
    such a pipe is full.

    It takes options from the environment as well, and those that can be given several times add to
    each other; where the module is not found it says so and goes on. Other servers do not look at
    this.
    """
    os.environ.setdefault("UWSGI_SHARED_IMPORT", "resilient_wsgi.stderr.shared_import")


def _warn(text: str) -> None:
    output.warn(f"resilient-wsgi exec: {text}")
