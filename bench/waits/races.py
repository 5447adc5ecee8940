"""Waits that are over at the very moment of their end: python -m bench.waits.races [SECONDS].

A server answers after some milliseconds; the watchdog ends the wait at about that time. Connections
go back to a pool of few, from which another thread takes them at once. What must not be: an error
in a request whose wait was not ended. What is counted besides: a connection that was ended, and
answered all the same, so that its pool hands it on broken.
"""

from __future__ import annotations

import collections
import random
import socket
import sys
import threading
import time
from typing import Any, Counter, List, Tuple

from bench.report import machine
from resilient_wsgi.host import waits
from resilient_wsgi.host.waits_chain import Still
from resilient_wsgi.host.waits_end import Ends
from resilient_wsgi.host.waits_sockets import Inherited

from . import servers
from .rig import Slot
from .upstream import serving

THREADS = 6
DELAY = 0.003
SPREAD = 0.0006  # of the end around the answer


class Request:
    __slots__ = ("at", "ended", "error", "made")

    def __init__(self, at: float) -> None:
        self.at = at
        self.ended = self.made = False
        self.error = ""


class Sockets:
    """A pool of plain sockets."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: List[socket.socket] = []
        self.errors = (OSError,)

    def use(self, number: int) -> bool:
        try:
            sock, made = self.free.pop(), False
        except IndexError:
            sock, made = socket.create_connection(("127.0.0.1", self.port)), True
        try:
            sock.sendall(f"{DELAY} {number}\n".encode())
            found = b""
            while not found.endswith(b"\n"):
                found += sock.recv(100) or b"end of file\n"
        except OSError:
            sock.close()
            raise
        assert int(found) == number, "the answer of another request"
        self.free.append(sock)
        return made


class Postgres:
    """A pool of connections of psycopg2, which waits in C."""

    def __init__(self, port: int) -> None:
        import psycopg2

        self.connect: Any = lambda: psycopg2.connect(
            host="127.0.0.1", port=port, user="app", dbname="postgres", sslmode="disable"
        )
        self.free: List[Any] = []
        self.errors = (psycopg2.Error,)

    def use(self, number: int) -> bool:
        try:
            connection, made = self.free.pop(), False
        except IndexError:
            connection, made = self.connect(), True
            connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select pg_sleep(%s), %s", [DELAY, number])
            assert cursor.fetchone()[1] == number, "the answer of another request"
        self.free.append(connection)
        return made


def serve(pool: Any, slot: Slot, done: List[Request], stop: threading.Event, seed: int) -> None:
    choice = random.Random(seed)
    number = seed * 1_000_000
    while not stop.is_set():
        number += 1
        at = time.monotonic() + DELAY + choice.uniform(-SPREAD, 2 * SPREAD)
        request = Request(at)
        slot.request = request
        try:
            request.made = pool.use(number)
        except pool.errors as error:
            request.error = str(error).splitlines()[0]
        slot.request = None
        done.append(request)


def watch(slots: List[Tuple[int, Slot]], seconds: float, counts: Counter[str]) -> None:
    ends = Ends(Inherited(), most=1_000_000)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        now = time.monotonic()
        for native, slot in slots:
            request = slot.request
            if isinstance(request, Request) and now >= request.at:
                wait = waits.wait_of(native)
                if wait is not None and wait.kind == waits.SOCKET:
                    still = Still.attribute(slot, "request", request)
                    outcome = ends.end(wait, request, still, list)
                    request.ended |= outcome.ended
                    counts[outcome.state] += 1
        time.sleep(0.0002)


def race(name: str, pool: Any, seconds: float) -> int:
    slots: List[Tuple[int, Slot]] = []
    done: List[Request] = []
    counts: Counter[str] = collections.Counter()
    stop = threading.Event()

    def run(seed: int) -> None:
        slot = Slot()
        slots.append((threading.get_native_id(), slot))
        serve(pool, slot, done, stop, seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    watch(slots, seconds, counts)
    stop.set()
    for thread in threads:
        thread.join()
    wrong = [each for each in done if each.error and not each.ended]
    late = sum(each.ended and not each.error for each in done)
    errors = sum(bool(each.error) for each in done)
    print(
        f"| {name} | {len(done)} | {counts['ended']} | {counts['over']} | {errors} | {late} "
        f"| {len(wrong)} |",
        flush=True,
    )
    for text, count in collections.Counter(each.error for each in wrong).most_common(5):
        print(f"  {count} x {text}", file=sys.stderr)
    return len(wrong)


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    print(machine("psycopg2-binary"), "\n")
    print(
        "| waits | requests | ended | over at the second look | errors "
        "| ended, yet answered | errors without an end |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with serving("echo") as (_, port):
        wrong = race("plain sockets, Python", Sockets(port), seconds)
    with servers.postgres() as database:
        wrong += race("psycopg2, C", Postgres(database), seconds)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
