"""Start a server with a standard output and error that cannot block: `resilient-wsgi exec -- uwsgi --ini uwsgi.ini`.

Everything that the server is and starts then has them so: its master, its log-master and logger threads, workers that change
their user (which may not open the pipe themselves any more), and servers that have no place to import this library early.
"""

from __future__ import annotations

import argparse
import os
import signal
from typing import List

from ..errors import Unavailable
from .descriptor import take_over
from .stream import NonBlockingStream

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells have it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--share",
        action="store_true",
        help="set O_NONBLOCK on the inherited description if it cannot be opened anew (a socket, another user's pipe); "
        "whoever shares it will notice",
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="do not have uWSGI import this library, for one that runs no Python or has it not where it looks for modules",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the server and its arguments, after --")


def run(arguments: argparse.Namespace) -> int:
    """Take the descriptors over and become the server; return only if there is none: 126, 127, or 2 without a command.

    Where nothing can be taken over that is said, and the server started all the same: a service that runs is worth more.
    """
    command: List[str] = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        _say("needs a command: resilient-wsgi exec -- uwsgi --ini uwsgi.ini")
        return 2
    try:
        take_over(share=arguments.share)
    except Unavailable as reason:
        _say(f"{reason}; the server can still be blocked by whoever reads its log")
    if not arguments.bare:
        _have_it_imported()
    # Python ignores it, and an ignored signal stays so through exec: the server is to have what it would have had
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is what it is for
    except OSError as error:
        _say(f"{command[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def _have_it_imported() -> None:
    """Have uWSGI make Python's own streams safe, too: they raise `BlockingIOError` into a view when such a pipe is full.

    It takes options from the environment as well, and those that can be given several times add to each other; where the
    module is not found it says so and goes on. Other servers do not look at this.
    """
    os.environ.setdefault("UWSGI_SHARED_IMPORT", f"{__package__}.imported")


def _say(text: str) -> None:
    # a plain print could block, or, after the take-over, raise
    NonBlockingStream().write(f"resilient-wsgi exec: {text}\n")
