"""Ordinary traffic, a lot of it, on a real uWSGI: how many requests are shed or taken for gone that should not be. 0.

Keep-alive through nginx, half-closing and pipelining clients on a raw HTTP socket, bodies fast and slow, clocks that are off by
an hour either way, garbage in the header.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict

from bench.report import machine
from lab.processes import Nginx, Server
from lab.processes.base import find_tool
from lab.processes.nginx import PARAMETERS
from lab.processes.uwsgi import Option

ROOT = Path(__file__).parents[1]
PARAMETERS["HTTP_X_REQUEST_START"] = "t=${msec}"
OPTIONS: Dict[str, Option] = {
    "module": "bench.hello_guarded",
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
    "RESILIENT_WSGI_REQUEST_MAX_QUEUE_WAIT": "5",
    "RESILIENT_WSGI_REQUEST_QUEUE_TARGET": "1",
}
GARBAGE = ("?", "t=", "1", "9" * 30, "nan", "-1", "inf", "t=1e400", "\xff", "0x10", "1_0")
Client = Callable[[int, random.Random], bytes]


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
    return method + b" / HTTP/1.1\r\nHost: x\r\nX-Request-Start: " + stamp.encode("latin-1") + b"\r\n"


def odd_clients(each: int, skew: float) -> tuple[int, int]:
    """Return how many requests of each kind of client were sent, and how many were not answered 200."""
    with Server(OPTIONS, env=ENV) as server, ThreadPoolExecutor(8) as pool:
        chance, wrong = random.Random(skew), 0
        for kind in (half_closing, pipelining, with_body):
            answers = pool.map(lambda _, kind=kind: kind(server.port, chance, skew), range(each))
            wrong += sum(not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) for answer in answers)
    return 3 * each, wrong


def through_nginx(seconds: float) -> tuple[int, int]:
    """Return how many requests nginx passed on for clients that keep their connections, and how many were not answered 2xx."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(OPTIONS, listen_on="uwsgi", env=ENV))
        nginx = stack.enter_context(Nginx([server.address]))
        command = [find_tool("wrk"), "-t1", "-c16", f"-d{seconds:g}s", f"http://127.0.0.1:{nginx.port}/"]
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    total = re.search(r"(\d+) requests in", out)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return int(total.group(1)) if total else 0, int(wrong.group(1)) if wrong else 0


def run(seconds: float = 60.0, each: float = 5000.0) -> str:
    """Return the report."""
    lines = [machine("uwsgi"), "", "| traffic | requests | not answered 200 |", "| --- | --- | --- |"]
    lines.append("| keep-alive through nginx | {} | {} |".format(*through_nginx(seconds)))
    for skew in (0.0, 3600.0, -3600.0):
        name = f"raw HTTP: half-closing, pipelining, bodies; clock off by {skew:+g} s, a tenth garbage"
        lines.append("| {} | {} | {} |".format(name, *odd_clients(int(each), skew)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(run(*map(float, sys.argv[1:])))
