"""Drivers by phase: how soon a hung wait ends, with what exception: python -m bench.waits.table."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import smtplib
import socket
import ssl
import sys
import time
from functools import partial
from typing import Any, Callable, ContextManager, Dict, Iterator, List, NamedTuple

from bench.report import machine
from lab.processes import ToolMissing

from . import servers
from .rig import Result, attempt, fresh, name_of
from .stalling import stalling

HOST = "127.0.0.1"
BIG = "x" * 30_000_000
LDAP_BOUND = "\x30\x0c\x02\x01{number}\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
SMTP = [["say", "220 hello\r\n"], ["expect", "\r\n"], ["say", "250 mail\r\n"]]
SMTP_DATA = [
    *SMTP,
    *([["expect", "\r\n"], ["say", "250 ok\r\n"]] * 2),
    *[["expect", "data\r\n"], ["say", "354 go\r\n"]],
]


class Cell(NamedTuple):
    """A driver in a phase: the server that stalls there, and the call."""

    driver: str
    phase: str
    server: Callable[[], ContextManager[int]]
    call: Callable[[int], Any]


def script(steps: List[List[str]]) -> Callable[[], ContextManager[int]]:
    return lambda: stalling("script", json.dumps(steps))


def proxy(upstream: int, unit: str, limit: int) -> Callable[[], ContextManager[int]]:
    return lambda: stalling("proxy", upstream, unit, limit)


SILENT = script([])


def blackhole() -> ContextManager[int]:
    return stalling("blackhole")


def databases(name: str, upstream: int, connect: Callable[..., Any], tls: Callable[..., Any],
              sleep: str, rows: str, write: str, first: int) -> Iterator[Cell]:  # fmt: skip
    """Yield the phases of a driver with the database interface of Python."""

    def query(sql: str, *arguments: Any) -> Callable[[int], Any]:
        def run(port: int) -> Any:
            connection = connect(port)
            cursor = connection.cursor()
            cursor.execute(sql, arguments or None)
            return len(cursor.fetchall())

        return run

    yield Cell(name, "connect", blackhole, connect)
    yield Cell(name, "before greeting", SILENT, connect)
    yield Cell(name, "authentication", proxy(upstream, "server_chunks", first), connect)
    yield Cell(name, "TLS handshake", *tls_of(name, upstream, tls))
    direct = lambda: contextlib.nullcontext(upstream)  # noqa: E731
    yield Cell(name, "query", direct, query(sleep))
    yield Cell(name, "mid-result", proxy(upstream, "server_bytes", 300_000), query(rows))
    yield Cell(name, "write", proxy(upstream, "client_bytes", 100_000), query(write, BIG))


def tls_of(name: str, upstream: int, tls: Callable[..., Any]) -> Any:
    if "psycopg" in name:
        return script([["expect", "\x04\xd2\x16\x2f"], ["say", "S"]]), tls
    return proxy(upstream, "server_chunks", 1), tls


def postgres(port: int) -> Iterator[Cell]:
    import psycopg
    import psycopg2

    rows = "select repeat('x', 1000) from generate_series(1, 5000)"
    for module in (psycopg2, psycopg):

        def connect(at: int, mode: str = "disable", module: Any = module) -> Any:
            return module.connect(
                host=HOST,
                port=at,
                user="app",
                dbname="postgres",
                sslmode=mode,
                gssencmode="disable",
            )

        def secured(at: int, connect: Any = connect) -> Any:
            return connect(at, "require")

        yield from databases(
            *(module.__name__, port, connect, secured),
            *("select pg_sleep(60)", rows, "select length(%s::text)", 0),
        )


def mysql(port: int) -> Iterator[Cell]:
    import MySQLdb
    import pymysql

    rows = "select repeat('x', 1000) from seq_1_to_5000"
    for name, module in (("mysqlclient", MySQLdb), ("PyMySQL", pymysql)):

        def connect(at: int, module: Any = module, **more: Any) -> Any:
            return module.connect(host=HOST, port=at, user="root", database="test", **more)

        def secured(at: int, name: str = name, connect: Any = connect) -> Any:
            options = {"ssl_mode": "REQUIRED"} if name == "mysqlclient" else {}
            ca = {"ssl": {"ca": "/etc/ssl/certs/ca-certificates.crt"}}
            return connect(at, **(options or ca))

        yield from databases(
            *(name, port, connect, secured),
            *("select sleep(60)", rows, "select length(%s)", 1),
        )


def redis(port: int) -> Iterator[Cell]:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    for name, options in (
        ("redis-py, no retries", {"retry": Retry(NoBackoff(), 0), "socket_timeout": None}),
        ("redis-py, as it comes", {}),
    ):

        def client(at: int, options: Dict[str, Any] = options, **more: Any) -> Any:
            return Redis(HOST, at, **{**options, **more})

        def ping(at: int, client: Any = client) -> Any:
            return client(at).ping()

        def pop(at: int, client: Any = client) -> Any:
            return client(at).blpop("nothing", 60)

        def big(at: int, client: Any = client) -> Any:
            return client(at).set("a", BIG)

        def handshake(at: int, client: Any = client) -> Any:
            return client(at, ssl=True, ssl_cert_reqs=None).ping()

        def read(at: int, client: Any = client) -> Any:
            return len(client(at).get("big"))

        Redis(HOST, port).set("big", BIG[:5_000_000])
        direct = lambda: contextlib.nullcontext(port)  # noqa: E731
        yield Cell(name, "connect", blackhole, ping)
        yield Cell(name, "before greeting", SILENT, ping)
        yield Cell(name, "TLS handshake", SILENT, handshake)
        yield Cell(name, "query", direct, pop)
        yield Cell(name, "mid-result", proxy(port, "server_bytes", 300_000), read)
        yield Cell(name, "write", proxy(port, "client_bytes", 100_000), big)


def mail(port: int) -> Iterator[Cell]:
    del port

    def send(at: int, text: str = "hello") -> Any:
        with smtplib.SMTP(HOST, at) as client:
            return client.sendmail("a@example.com", "b@example.com", text)

    lines = ("x" * 70 + "\r\n") * 400_000
    yield Cell("smtplib", "connect", blackhole, send)
    yield Cell("smtplib", "before greeting", SILENT, send)
    yield Cell("smtplib", "authentication", script(SMTP[:2]), send)
    yield Cell("smtplib", "TLS handshake", SILENT, lambda at: smtplib.SMTP_SSL(HOST, at))
    yield Cell("smtplib", "query", script([*SMTP_DATA, ["expect", "\r\n.\r\n"]]), send)
    yield Cell("smtplib", "write", script(SMTP_DATA), lambda at: send(at, lines))


def directory(port: int) -> Iterator[Cell]:
    del port
    import ldap3

    def server(at: int, **more: Any) -> Any:
        return ldap3.Server(HOST, at, get_info=ldap3.NONE, **more)

    def bind(at: int, **more: Any) -> Any:
        return ldap3.Connection(server(at, **more), "cn=a", "b", auto_bind=True)

    def search(at: int) -> Any:
        return bind(at).search("dc=example", "(cn=*)")

    bound = [["number", ""], ["expect", "cn=a"], ["expect", "b"], ["say", LDAP_BOUND]]
    half = [*bound, ["number", ""], ["say", "\x30\x50\x02\x01{number}\x64"]]
    yield Cell("ldap3", "connect", blackhole, bind)
    yield Cell("ldap3", "authentication", SILENT, bind)
    yield Cell("ldap3", "TLS handshake", SILENT, lambda at: bind(at, use_ssl=True))
    yield Cell("ldap3", "query", script(bound), search)
    yield Cell("ldap3", "mid-result", script(half), search)


def files(port: int) -> Iterator[Cell]:
    del port
    from ftplib import FTP, FTP_TLS

    def login(at: int, kind: Any = FTP) -> Any:
        client = kind()
        client.connect(HOST, at)
        client.login()
        return client

    def fetch(at: int) -> int:
        target = io.BytesIO()
        login(at).retrbinary("RETR a", target.write)
        return len(target.getvalue())

    secure = [["say", "220 hi\r\n"], ["expect", "AUTH TLS\r\n"], ["say", "234 go\r\n"]]
    yield Cell("ftplib", "connect", blackhole, login)
    yield Cell("ftplib", "before greeting", SILENT, login)
    yield Cell("ftplib", "authentication", script([["say", "220 hi\r\n"]]), login)
    yield Cell("ftplib", "TLS handshake", script(secure), lambda at: login(at, FTP_TLS))
    yield Cell("ftplib", "mid-result", lambda: stalling("ftp"), fetch)


def plain(port: int) -> Iterator[Cell]:
    del port

    def until_close(at: int, timeout: Any = None) -> Any:
        connection = http.client.HTTPConnection(HOST, at, timeout=timeout)
        connection.request("GET", "/")
        return len(connection.getresponse().read())

    def handshake(at: int, timeout: Any = None) -> Any:
        context = ssl.create_default_context()
        return context.wrap_socket(
            socket.create_connection((HOST, at), timeout), server_hostname="x"
        )

    def raw(at: int, timeout: Any = None) -> Any:
        return socket.create_connection((HOST, at), timeout)

    def receive(at: int, timeout: Any = None) -> Any:
        return raw(at, timeout).recv(1)

    def send(at: int, timeout: Any = None) -> Any:
        return raw(at, timeout).sendall(BIG.encode())

    half = [["expect", "\r\n\r\n"], ["say", "HTTP/1.0 200 OK\r\n\r\n" + "x" * 5000]]
    for timeout in (None, 60):
        name = "without timeout" if timeout is None else "timeout of 60 s"
        yield Cell(f"socket, {name}", "connect", blackhole, partial(raw, timeout=timeout))
        yield Cell(f"socket, {name}", "query", SILENT, partial(receive, timeout=timeout))
        yield Cell(f"socket, {name}", "TLS handshake", SILENT, partial(handshake, timeout=timeout))
        yield Cell(f"socket, {name}", "write", SILENT, partial(send, timeout=timeout))
        yield Cell(
            f"http.client, {name}",
            "body until close",
            script(half),
            partial(until_close, timeout=timeout),
        )


def row(cell: Cell, result: Result) -> str:
    error = name_of(result.error) or f"**no error: {result.got}**"
    text = str(result.error or "").splitlines()
    ways = ", ".join(sorted({each.how for each in result.outcomes if each.ended}))
    refused = next((each.reason for each in result.outcomes if each.state == "refused"), "")
    woke = f"{result.woke * 1e3:.0f}" if result.ended else f"**not in {result.woke:.0f} s**"
    message = f"`{error}`: {text[0][:70] if text else ''}"
    return (
        f"| {cell.driver} | {cell.phase} | {result.call} | {result.ends} {ways or refused} | {woke}"
        f" | {message.replace('|', '/')} |"
    )


def cells(only: List[str]) -> Iterator[Cell]:
    sources: List[Any] = [
        *((postgres, servers.postgres), (mysql, servers.mariadb), (redis, servers.redis)),
        *((each, lambda: contextlib.nullcontext(0)) for each in (mail, directory, files, plain)),
    ]
    for source, server in sources:
        if only and source.__name__ not in only:
            continue
        try:
            with server() as port:
                yield from source(port)
        except (ToolMissing, ImportError) as missing:
            print(f"{source.__name__}: skipped, {missing}", file=sys.stderr)


def main() -> None:
    """Print a row a cell, and the figures of all."""
    ends = fresh()
    print(machine(), "\n")
    print("| driver | hangs in | system call | ends | ms to the exception | what the app gets |")
    print("| --- | --- | --- | --- | --- | --- |")
    results = []
    for cell in cells(sys.argv[1:]):
        with cell.server() as port:
            result = attempt(ends, partial(cell.call, port))
        results.append(result)
        print(row(cell, result), flush=True)
        time.sleep(0.05)
    soon = sum(each.woke <= 0.3 for each in results)
    errors = sum(each.error is not None for each in results)
    print(f"\n{soon} of {len(results)} ended within 0.3 s; {errors} with an exception")


if __name__ == "__main__":
    main()
