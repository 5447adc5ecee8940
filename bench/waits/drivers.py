"""Drivers by phase, with their own limits and without the library: python -m bench.waits.drivers.

A server stops answering at a point of the conversation. Without the library the call is given up
on after PATIENCE. With it, `deadline.limit(LIMIT)` is around the call: no watchdog takes part.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from functools import partial
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from bench.report import machine
from lab.processes.base import ToolMissing

from . import servers, table
from .rabbitmq import SHORT_OF_MEMORY, rabbitmq
from .rig import name_of
from .table import BIG, HOST, SILENT, Cell, blackhole, proxy

LIMIT = 1.0
PATIENCE = 7.0
SOON = 0.3
LIMITED = ("psycopg", "PyMySQL", "redis-py, as it comes", "smtplib", "pymemcache", "kombu",
           "pymongo", "grpc")  # fmt: skip


class Result(NamedTuple):
    """How long a call took, and what it raised; `seconds` is None if it was still waiting."""

    seconds: Optional[float]
    error: str = ""
    ours: bool = False


def cache(port: int) -> Iterator[Cell]:
    from pymemcache.client.base import Client

    def get(at: int) -> Any:
        return len(Client((HOST, at)).get("big"))

    def put(at: int) -> Any:
        return Client((HOST, at)).set("a", BIG)

    Client((HOST, port)).set("big", BIG[:5_000_000])
    yield Cell("pymemcache", "connect", blackhole, get)
    yield Cell("pymemcache", "query", SILENT, get)
    yield Cell("pymemcache", "mid-result", proxy(port, "server_bytes", 300_000), get)
    yield Cell("pymemcache", "write", proxy(port, "client_bytes", 100_000), put)
    yield Cell("pymemcache", "behind nginx", partial(behind_nginx, SILENT), get)


@contextlib.contextmanager
def behind_nginx(server: Any) -> Iterator[int]:
    with server() as hung, servers.nginx_stream(hung) as port:
        yield port


def broker(port: int) -> Iterator[Cell]:
    import kombu

    def publish(at: int, body: str = "a", **options: Any) -> Any:
        with kombu.Connection(f"amqp://guest:guest@{HOST}:{at}//", **options) as connection:
            kombu.Producer(connection).publish(body, routing_key="a", retry=True)

    confirmed: Dict[str, Any] = {"transport_options": {"confirm_publish": True}}
    blocked = partial(rabbitmq, SHORT_OF_MEMORY)
    secured: Dict[str, Any] = {"ssl": {"server_hostname": "localhost"}}
    yield Cell("kombu", "connect", blackhole, publish)
    yield Cell("kombu", "before greeting", SILENT, publish)
    yield Cell("kombu", "authentication", proxy(port, "server_chunks", 1), publish)
    yield Cell("kombu", "TLS handshake", SILENT, partial(publish, **secured))
    yield Cell("kombu", "query", blocked, partial(publish, **confirmed))
    yield Cell("kombu", "write", blocked, partial(publish, body=BIG))


def documents(port: int) -> Iterator[Cell]:
    del port
    import pymongo

    def find(at: int, **options: Any) -> Any:
        return pymongo.MongoClient(HOST, at, **options).a.b.find_one()

    yield Cell("pymongo", "connect", blackhole, find)
    yield Cell("pymongo", "before greeting", SILENT, find)
    yield Cell("pymongo", "TLS handshake", SILENT, partial(find, tls=True))


def calls(port: int) -> Iterator[Cell]:
    del port
    import grpc

    def call(at: int) -> Any:
        return grpc.insecure_channel(f"{HOST}:{at}").unary_unary("/a/b")(b"")

    yield Cell("grpc", "connect", blackhole, call)
    yield Cell("grpc", "before greeting", SILENT, call)


SOURCES: Dict[str, Any] = {
    "postgres": (table.postgres, servers.postgres),
    "mysql": (table.mysql, servers.mariadb),
    "redis": (table.redis, servers.redis),
    "mail": (table.mail, lambda: contextlib.nullcontext(0)),
    "cache": (cache, servers.memcached),
    "broker": (broker, rabbitmq),
    "documents": (documents, lambda: contextlib.nullcontext(0)),
    "calls": (calls, lambda: contextlib.nullcontext(0)),
}


def cells(only: List[str]) -> Iterator[Cell]:
    for name, (source, server) in SOURCES.items():
        if only and name not in only:
            continue
        try:
            with server() as port:
                yield from (cell for cell in source(port) if cell.driver in LIMITED)
        except (ToolMissing, ImportError) as missing:
            print(f"{name}: skipped, {missing}", file=sys.stderr)


def attempt(cell: Cell, port: int, limited: bool) -> Result:
    """Make the call in a process of its own, which is ended if it takes too long."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with os.fdopen(writing, "w") as file:
            file.write(json.dumps(made(cell, port, limited)))
            file.flush()
            os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], PATIENCE)[0]:
            return Result(None)
        with os.fdopen(reading, closefd=False) as file:
            return Result(*json.loads(file.read() or '[0.0, "no result", false]'))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)


def made(cell: Cell, port: int, limited: bool) -> List[Any]:
    from resilient_wsgi import deadline, errors
    from resilient_wsgi.drivers.component import Drivers
    from resilient_wsgi.settings import options

    if limited:
        Drivers.here().install(options.Drivers())
    began = time.monotonic()
    try:
        with deadline.limit(LIMIT) if limited else contextlib.nullcontext():
            cell.call(port)
    except Exception as error:
        took = time.monotonic() - began
        return [took, name_of(error), isinstance(error, errors.DeadlineExceeded)]
    return [time.monotonic() - began, "", False]


def row(cell: Cell, without: Result, limited: Result) -> str:
    late = "**not ended**" if limited.seconds is None else f"{(limited.seconds - LIMIT) * 1e3:.0f}"
    mark = "" if limited.ours else " (not ours)"
    plain = f"> {PATIENCE:.0f}" if without.seconds is None else f"{without.seconds:.1f}"
    if without.seconds is not None:
        plain += f", `{without.error}`"
    return f"| {cell.driver} | {cell.phase} | {plain} | {late} | `{limited.error}`{mark} |"


def main() -> None:
    """Print a row a cell, and the figures of all."""
    print(machine(), "\n")
    print("| driver | hangs in | without the library, s | with: ms after the deadline | raises |")
    print("| --- | --- | --- | --- | --- |")
    results = []
    for cell in cells(sys.argv[1:]):
        with cell.server() as port:
            pair = attempt(cell, port, limited=False), attempt(cell, port, limited=True)
        results.append(pair[1])
        print(row(cell, *pair), flush=True)
    ended = [each for each in results if each.seconds is not None and each.ours]
    soon = sum(each.seconds is not None and each.seconds - LIMIT <= SOON for each in ended)
    print(f"\n{soon} of {len(results)} ended within {SOON} s by their own limit")


if __name__ == "__main__":
    main()
