"""What fair share costs a call: its hooks alone, and in `requests.get`.

    python -m bench.bulkhead.cost [--rounds 40]

Call by call with and without it, so that both see the same noise; the lower quartiles are compared,
the interval is 95 %, by bootstrap.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import socket
import time
from typing import Any, Callable, Dict, List, Tuple

import requests

import resilient_wsgi
from resilient_wsgi.bulkhead.share import FairShare
from resilient_wsgi.outbound.exchange import Exchange
from resilient_wsgi.request.running import running
from resilient_wsgi.servers import Server
from resilient_wsgi.settings.options import Bulkhead
from resilient_wsgi.upstream import meeting
from tests.scoreboards import of_this_process

Times = List[float]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _serve(listener: socket.socket) -> None:
    """Answer one connection after the other, as quickly as can be."""
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(65536):
                connection.sendall(ANSWER)


def quartile(times: Times) -> float:
    """Return the lower quartile: what other work on the machine disturbs is above it."""
    return sorted(times)[len(times) // 4]


def difference(with_it: Times, without: Times) -> Tuple[float, float, float]:
    """Return how much more it takes with it, and the ends of its interval."""
    rng = random.Random(1)
    found = sorted(
        quartile(rng.choices(with_it, k=len(with_it)))
        - quartile(rng.choices(without, k=len(without)))
        for _ in range(200)
    )
    return quartile(with_it) - quartile(without), found[5], found[194]


def cpu_of(function: Callable[[], object], times: int) -> float:
    """Return the microseconds of CPU time of this thread that a call takes."""
    begin = time.thread_time_ns()
    for _ in range(times):
        function()
    return (time.thread_time_ns() - begin) / times / 1e3


def main() -> None:
    """Print both figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=40)
    rounds = arguments.parse_args().rounds
    resilient_wsgi.install({"BULKHEAD": "off", "REQUEST": {"TIMEOUT": 600}})
    with of_this_process(workers=8) as board:
        row = board.worker(1)
        row.pid, row.seen = 1, 1.0
        board._mine.set(row)  # noqa: SLF001 - as if this were that worker
        share = FairShare(Bulkhead(), _Server(), lambda _event: None)

        def app(_environ: Any, _start_response: Any) -> List[bytes]:
            return _measure(share, rounds)

        environ: Any = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        start_response: Any = None
        resilient_wsgi.wrap(app)(environ, start_response)


class _Server(Server):
    name = "uwsgi"


def _measure(share: FairShare, rounds: int) -> List[bytes]:
    meeting.place_of = lambda thread: 0 if running.slot_of(thread) else None
    listener = socket.create_server(("127.0.0.1", 0))
    # a thread would take the GIL from what is measured
    child = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,))
    child.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/path"
    session = requests.Session()

    def set_gate(on: bool) -> None:
        meeting.gate = share.gate if on else None

    def alone() -> None:
        exchange = Exchange(url)
        exchange.enter(url)
        exchange.method = "GET"
        exchange.sent()
        exchange.answer()
        if exchange.call is not None:
            exchange.leave(None)

    for name, function, turns, times in (
        ("the hooks alone", alone, rounds, 20_000),
        ("requests.get, session", lambda: session.get(url).content, 100 * rounds, 1),
    ):
        taken: Dict[bool, Times] = {True: [], False: []}
        for turn in range(turns):
            if turn * times % 100 == 0:
                share.look(time.monotonic(), [])
            for on in (True, False) if turn % 2 else (False, True):
                set_gate(on)
                taken[on].append(cpu_of(function, times))
        more, low, high = difference(taken[True], taken[False])
        print(
            f"{name}: {quartile(taken[False]):.1f} us without it, {more:.2f} us more with it "
            f"(95 %: {low:.2f} to {high:.2f})",
            flush=True,
        )
    set_gate(False)
    child.kill()
    return []


if __name__ == "__main__":
    main()
