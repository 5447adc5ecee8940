"""What the middleware costs a request: each piece in this process, and all of the library on real
servers, without and with the library.

In this process it is the least of many runs, so that others do not count; the connection is a
socket pair, the shared memory is real. On the servers the runs alternate, and each server is
started again several times: one process differs from the next by as much as is to be measured,
because what it keeps lies elsewhere in memory.
"""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import time
import timeit
import urllib.request
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Union

from bench import ROOT
from bench.report import machine, spread
from bench.wrap.hello_app import application
from lab.measuring.procfs import cpu_seconds
from lab.processes import Gunicorn, Server as uWSGI
from lab.processes.base import find_tool
from lab.processes.uwsgi import Option
from resilient_wsgi import servers, stderr
from resilient_wsgi.app import Wrapped
from resilient_wsgi.overload.middleware import Shared
from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.state import State
from resilient_wsgi.request import ClientGoneMiddleware, DeadlineMiddleware, QueueMiddleware
from resilient_wsgi.request.running import running
from resilient_wsgi.servers import Server
from resilient_wsgi.servers.facts import Connections, Harakiri
from resilient_wsgi.settings.options import Overload, Request, Settings
from resilient_wsgi.shm.layout import Geometry
from resilient_wsgi.shm.scoreboard import Scoreboard

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

NUMBER = 300
REPEAT = 1500
STARTS = 8
ROUNDS = 3
SECONDS = 2
CONNECTIONS = 8


class Waiting(Connections):
    """Connections behind the uwsgi protocol, whose client waits."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def client_fd(self, _environ: WSGIEnvironment) -> int:
        """Return the descriptor of the pair."""
        return self._fd

    def client_may_half_close(self, _environ: WSGIEnvironment) -> bool:
        """Return False, as behind nginx."""
        return False


class UsualHarakiri(Harakiri):
    """A harakiri of the usual length."""

    def seconds(self) -> float:
        """Return it."""
        return 30.0


class Connected(Server):
    """A server behind the uwsgi protocol, whose client waits."""

    harakiri = UsualHarakiri()

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.connections = Waiting(fd)


@contextlib.contextmanager
def scene() -> Iterator[Connected]:
    """Have a connection and a row of a scoreboard, as a worker has them."""
    client, accepted = socket.socketpair()
    with client, accepted:
        running.forget()
        running.rows = Scoreboard(-1, Geometry(1, 0, 1)).worker(1).threads
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
    yield "queue, nobody waits", _counting(server, Overload()), environ
    by_header = Overload(queue_time_header="X-Request-Start")
    yield "queue, with a header", _counting(server, by_header), stamped
    yield "deadline, watchdog's table, record", DeadlineMiddleware(application, 28.5), environ
    yield "`wsgi.errors`", stderr.ErrorsMiddleware(application), environ
    yield "all of `wrap()`", Wrapped(application, Settings()), environ
    whole = Wrapped(application, Settings(overload=by_header))
    yield "all of `wrap()`, with the header", whole, stamped


def _counting(server: Server, options: Overload) -> QueueMiddleware:
    """Return the queue's middleware with the shared memory that it has in a worker."""
    shared = Shared()
    shared.join(Queue(State.alone(), lambda: 0, lambda: False))
    return QueueMiddleware(application, options, server, shared=shared)


def in_process() -> str:
    """Return the table of the pieces."""
    lines: List[str] = [
        f"least of {REPEAT} runs of {NUMBER} calls",
        "",
        "| around hello world | µs more |",
        "| --- | --- |",
    ]
    alone = 0.0
    with scene() as server:
        for name, app, environ in rows(server):
            took = microseconds(app, environ)
            alone = alone or took
            lines.append(
                f"| {name} | {took - alone:.2f} |"
                if took is not alone
                else f"| {name} | ({took:.2f}) |"
            )
    return "\n".join(lines) + "\n"


def on_servers() -> str:
    """Return the table of the servers: requests a second, the p99, and the processor time of a
    request, which others hardly touch.
    """
    lines = [
        (
            f"wrk, {CONNECTIONS} connections, {STARTS} processes each, {ROUNDS} alternating runs of "
            f"{SECONDS} s; medians (ranges)"
        ),
        "",
        "| server | | requests/s | ratio | p99, ms | processor time of a request, µs | more, µs |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, serve in SERVERS.items():
        runs: Dict[str, List[Measured]] = {"hello_app": [], "hello_protected": []}
        for _ in range(STARTS):
            with contextlib.ExitStack() as stack:
                servers_of = {module: serve(module, module) for module in runs}
                for server in servers_of.values():
                    stack.enter_context(server)
                for server in servers_of.values():
                    measure(server)
                for _ in range(ROUNDS):
                    for module, server in servers_of.items():
                        runs[module].append(measure(server))
        without, _, alone = zip(*runs["hello_app"])
        for module, kind in (("hello_app", "without"), ("hello_protected", "with")):
            rates, p99, micro = zip(*runs[module])
            ratio = statistics.median(rate / peer for rate, peer in zip(rates, without))
            more = statistics.median(time - peer for time, peer in zip(micro, alone))
            lines.append(
                f"| {name} | {kind} | {spread(rates)} | {ratio:.3f} | {spread(p99)} | "
                f"{spread(micro)} | {more:.1f} |"
            )
    return "\n".join(lines) + "\n"


def inside() -> str:
    """Return the table of how long the app's call takes in a worker under load: what the server
    itself does is not in it.
    """
    lines = [
        (
            f"in the worker, {STARTS} processes each, one run of {SECONDS} s; medians (ranges) of "
            "their medians"
        ),
        "",
        "| server | the app's call, without the library, µs | with | more, µs |",
        "| --- | --- | --- | --- |",
    ]
    for name, serve in SERVERS.items():
        took: Dict[str, List[float]] = {"hello_app": [], "hello_protected": []}
        for _ in range(STARTS):
            for module, times in took.items():
                with serve("timed_app", module) as server:
                    measure(server)
                    with urllib.request.urlopen(
                        f"http://127.0.0.1:{server.port}/took", timeout=10
                    ) as answer:
                        times.append(int(answer.read()) / 1000)
        without, protected = took.values()
        more = statistics.median(protected) - statistics.median(without)
        lines.append(f"| {name} | {spread(without)} | {spread(protected)} | {more:.1f} |")
    return "\n".join(lines) + "\n"


class Measured(NamedTuple):
    """Requests a second, the 99th percentile of their times in ms, the worker's processor time for
    one in µs.
    """

    rate: float
    p99: float
    micro: float


def measure(server: Union[uWSGI, Gunicorn]) -> Measured:
    """Have wrk ask for `SECONDS`."""
    (worker,) = server.workers()
    url, before = f"http://127.0.0.1:{server.port}/", cpu_seconds(worker)
    command = [find_tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    used = cpu_seconds(worker) - before
    rate, p99 = (
        re.search(r"Requests/sec:\s+([\d.]+)", out),
        re.search(r"99%\s+([\d.]+)(us|ms|s)", out),
    )
    count = re.search(r"(\d+) requests in", out)
    if "Non-2xx" in out or rate is None or p99 is None or count is None:
        raise RuntimeError(out)
    p99_ms = float(p99.group(1)) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99.group(2)]
    return Measured(float(rate.group(1)), p99_ms, used / int(count.group(1)) * 1e6)


def _uwsgi(served: str, module: str) -> uWSGI:
    protected = (
        {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}
        if module == "hello_protected"
        else {}
    )
    options: Dict[str, Option] = {
        "module": f"bench.wrap.{served}", "master": True, "processes": 1, "listen": 1024,
        "disable-logging": True,
        "harakiri": 30, "need-app": True, "pythonpath": str(ROOT),
        "env": f"TIMED=bench.wrap.{module}", **protected,
    }  # fmt: skip
    return uWSGI(options)


def _gunicorn(served: str, module: str, *arguments: str) -> Gunicorn:
    env = {
        "PYTHONPATH": str(ROOT),
        "RESILIENT_WSGI_REQUEST_TIMEOUT": "28",
        "TIMED": f"bench.wrap.{module}",
    }
    return Gunicorn(
        f"bench.wrap.{served}:application", ["--workers=1", "--backlog=1024", *arguments], env=env
    )


# each takes the module that is served, and the one whose app it is: the same, or behind `timed_app`
SERVERS: Dict[str, Callable[[str, str], Union[uWSGI, Gunicorn]]] = {
    "uWSGI": _uwsgi,
    "gunicorn, sync": _gunicorn,
    "gunicorn, 4 threads": lambda served, module: _gunicorn(served, module, "--threads=4"),
}


def run() -> str:
    """Return the report."""
    return f"{machine('uwsgi', 'gunicorn', 'wrapt')}\n\n{in_process()}\n{inside()}\n{on_servers()}"


if __name__ == "__main__":
    sys.stdout.write(run())
