"""Ordinary traffic, a lot of it, on a real uWSGI: how many requests are shed or taken for gone that
should not be. 0.

Keep-alive and pipelining through nginx, keep-alive, half-closing and impatient clients on raw HTTP
sockets, bodies fast and slow, clocks that are off by an hour either way, two routers whose clocks
are an hour apart, garbage in the header.
"""

from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple

from bench import ROOT
from bench.report import machine
from lab.processes import Nginx, Server
from lab.processes.base import find_tool, free_port
from lab.processes.uwsgi import Option

SCRIPT = Path(__file__).with_name("traffic.lua")
OPTIONS: Dict[str, Option] = {
    "module": "bench.request.request_app:protected_reading",
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
    "master": True,
    "processes": 2,
    "threads": 2,
    "listen": 1024,
    "disable-logging": True,
    "harakiri": 30,
    "pythonpath": str(ROOT),
}
ENV: Dict[str, str | None] = {
    "RESILIENT_WSGI_OVERLOAD_QUEUE_TIME_HEADER": "X-Request-Start",
    "RESILIENT_WSGI_OVERLOAD_MAX_WAIT": "5",
    "RESILIENT_WSGI_OVERLOAD_TARGET": "1",
}
GARBAGE = ("?", "t=", "1", "9" * 30, "nan", "-1", "inf", "t=1e400", "\xff", "0x10", "1_0")


class Count(NamedTuple):
    """How many requests; how many of them were answered 503, as too late; 499, as those of nobody;
    or otherwise than with 200.
    """

    requests: int
    shed: int
    gone: int
    other: int

    def __str__(self) -> str:
        return f"{self.requests:,} | {self.shed} | {self.gone} | {self.other}".replace(",", " ")


def _count(requests: int, statuses: Mapping[int, int]) -> Count:
    """Return the count from the number of each status that is not 200."""
    shed, gone = statuses.get(503, 0), statuses.get(499, 0)
    return Count(requests, shed, gone, sum(statuses.values()) - shed - gone)


def half_closing(port: int, chance: random.Random, skew: float = 0.0) -> bytes:
    """Ask, close the sending half, and wait."""
    with _connected(port) as connection:
        connection.sendall(_head(chance, skew) + b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(200)


def pipelining(port: int, chance: random.Random, skew: float = 0.0) -> bytes:
    """Send the next request before the answer."""
    with _connected(port) as connection:
        connection.sendall((_head(chance, skew) + b"\r\n") * 2)
        return connection.recv(200)


def with_body(port: int, chance: random.Random, skew: float = 0.0) -> bytes:
    """Send a body, in two parts with a pause now and then."""
    with _connected(port) as connection:
        connection.sendall(_head(chance, skew, b"POST") + b"Content-Length: 8\r\n\r\nhalf")
        if chance.random() < 0.02:
            time.sleep(0.05)
        connection.sendall(b"more")
        return connection.recv(200)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def _head(chance: random.Random, skew: float, method: bytes = b"GET") -> bytes:
    stamp = chance.choice(GARBAGE) if chance.random() < 0.1 else f"t={time.time() - skew:.3f}"
    return (
        method + b" / HTTP/1.1\r\nHost: x\r\nX-Request-Start: " + stamp.encode("latin-1") + b"\r\n"
    )


def odd_clients(each: int, skew: float) -> Count:
    """Count what clients got that close their half, that send two requests at once, and that send a
    body.
    """
    with Server(OPTIONS, env=ENV) as server, ThreadPoolExecutor(8) as pool:
        chance, wrong = random.Random(skew), Counter[int]()
        for kind in (half_closing, pipelining, with_body):
            answers = pool.map(lambda _, kind=kind: kind(server.port, chance, skew), range(each))
            wrong.update(int(answer[9:12] or 0) for answer in answers)
    del wrong[200]
    return _count(3 * each, wrong)


def through_nginx(seconds: float, skew: str) -> Count:
    """Count what clients of nginx got that keep their connections.

    Their header is passed on: nginx sets none of its own.
    """
    with Server(OPTIONS, listen_on="uwsgi", env=ENV) as server, Nginx([server.address]) as nginx:
        return _wrk(nginx.port, seconds, skew, "pipelined")


def kept_alive(seconds: float, skew: str) -> Count:
    """Count what clients of uWSGI's own HTTP/1.1 got; one request after the other, because it does
    not know of two at once.
    """
    port = free_port()
    options: Dict[str, Option] = {**OPTIONS, "http11-socket": f"127.0.0.1:{port}"}
    with Server(options, listen_on="uwsgi", env=ENV):
        return _wrk(port, seconds, skew, "single")


def _wrk(port: int, seconds: float, skew: str, kind: str) -> Count:
    url = f"http://127.0.0.1:{port}/"
    command = [
        find_tool("wrk"),
        "-t1",
        "-c32",
        f"-d{max(1, round(seconds))}s",
        "-s",
        str(SCRIPT),
        url,
        "--",
        skew,
        "1",
        kind,
    ]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    total, codes = re.search(r"(\d+) requests in", out), re.findall(r" (\d+)=(\d+)", out)
    statuses = {int(code): int(count) for code, count in codes}
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    statuses[0] = sum(map(int, errors.groups())) if errors else 0
    return _count(int(total.group(1)) if total else 0, statuses)


def run(seconds: float = 27.0, each: float = 5000.0) -> str:
    """Return the report: `seconds` through nginx for each clock, `each` requests of each odd client
    for each clock.
    """
    lines = [
        machine("uwsgi"),
        "",
        "| traffic | requests | 503 | 499 | others |",
        "| --- | --- | --- | --- | --- |",
    ]
    counts: List[Count] = []
    for skew in ("0", "3600", "-3600", "mixed"):
        clock = "of routers an hour apart" if skew == "mixed" else f"off by {skew} s"
        counts.append(through_nginx(seconds, skew))
        lines.append(f"| nginx, keep-alive, pipelining, bodies; clock {clock} | {counts[-1]} |")
        counts.append(kept_alive(seconds / 9, skew))
        lines.append(f"| HTTP/1.1, keep-alive, bodies; clock {clock} | {counts[-1]} |")
        if skew != "mixed":
            counts.append(odd_clients(int(each), float(skew)))
            lines.append(
                f"| raw HTTP: half-closing, two at once, slow bodies; clock {clock} | {counts[-1]} "
                "|"
            )
    lines.append(
        f"| all, a tenth of them with garbage for a stamp | {Count(*map(sum, zip(*counts)))} |"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(run(*map(float, sys.argv[1:])))
