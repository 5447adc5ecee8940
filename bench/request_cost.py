"""What each piece of middleware costs a request, in this process: the least of many runs, so that others do not count.

Beside it the same app without anything around it. The connection is a socket pair, the shared memory is real.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import time
import timeit
from typing import TYPE_CHECKING, Any, Dict, Iterator, List

from bench.hello_app import application
from bench.report import machine
from resilient_wsgi import servers, stderr
from resilient_wsgi.request import ClientGoneMiddleware, DeadlineMiddleware, QueueMiddleware
from resilient_wsgi.request.records import Region
from resilient_wsgi.request.running import running
from resilient_wsgi.request.shared import SIZE_BYTES, Shared
from resilient_wsgi.servers import Server
from resilient_wsgi.settings import Request, Settings
from resilient_wsgi.stack import Wrapped

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

NUMBER = 300
REPEAT = 1500


class Connected(Server):
    """A server behind the uwsgi protocol, whose client waits."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def client_fd(self, environ: WSGIEnvironment) -> int:
        """Return the descriptor of the pair."""
        del environ
        return self._fd

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return False, as behind nginx."""
        del environ
        return False

    def harakiri(self) -> float:
        """Return a usual one."""
        return 30.0


@contextlib.contextmanager
def scene() -> Iterator[Connected]:
    """Have a connection and shared memory, as a worker has them."""
    client, accepted = socket.socketpair()
    with client, accepted, tempfile.TemporaryFile() as file:
        file.truncate(SIZE_BYTES)
        running.forget()
        running.records = Region(Shared(file.fileno(), "bench"), 0).records()
        server = Connected(accepted.fileno())
        servers.use(server)
        try:
            yield server
        finally:
            servers.use(None)
            running.forget()


def microseconds(app: WSGIApplication, environ: Dict[str, Any]) -> float:
    """Return what a call takes with a fresh environ."""

    def start_response(*_: Any) -> Any:
        return None

    def call() -> None:
        app(dict(environ), start_response)

    return min(timeit.repeat(call, number=NUMBER, repeat=REPEAT)) / NUMBER * 1e6


def rows(server: Server) -> Iterator[tuple[str, WSGIApplication, Dict[str, Any]]]:
    """Return name, app and environ of each measurement; the first is that without anything."""
    environ: Dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/some/path",
        "SCRIPT_NAME": "",
        "wsgi.errors": None,
    }
    stamped = {**environ, "HTTP_X_REQUEST_START": f"t={time.time():.3f}"}
    options = Request()
    yield "the app alone", application, environ
    yield "client gone", ClientGoneMiddleware(application, options, server), environ
    yield "queue, no header", QueueMiddleware(application, options, server), environ
    yield "queue, with its header", QueueMiddleware(application, options, server), stamped
    yield "deadline, watchdog's table, record", DeadlineMiddleware(application, 28.5), environ
    yield "`wsgi.errors`", stderr.ErrorsMiddleware(application), environ
    whole = Wrapped(application, Settings())
    yield "all of `wrap()`", whole, environ
    yield "all of `wrap()`, with the header", whole, stamped


def run() -> str:
    """Return the report."""
    lines: List[str] = [
        f"{machine()}; least of {REPEAT} runs of {NUMBER} calls",
        "",
        "| around hello world | µs more |",
        "| --- | --- |",
    ]
    alone = 0.0
    with scene() as server:
        for name, app, environ in rows(server):
            took = microseconds(app, environ)
            alone = alone or took
            lines.append(f"| {name} | {took - alone:.2f} |" if took is not alone else f"| {name} | ({took:.2f}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(run())
