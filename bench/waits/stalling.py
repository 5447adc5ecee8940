"""Servers that stop answering at a chosen point: python -m bench.waits.stalling KIND [ARGUMENTS].

They run in a process of their own, print their port, and end with their standard input.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Callable, Iterator, List

BUFFER = 1 << 16
HOST = "127.0.0.1"


class Proxy:
    """Passes bytes on between a client and a server until a limit is reached, then nothing more."""

    def __init__(self, upstream: int, unit: str, limit: int) -> None:
        self.upstream, self.unit, self.limit = upstream, unit, limit
        self.done = 0

    def serve(self, client: socket.socket) -> None:
        server = socket.create_connection((HOST, self.upstream))
        self.done = 0
        pump = partial(self.pump, client, server, "client")
        threading.Thread(target=quietly, args=(pump,), daemon=True).start()
        self.pump(server, client, "server")
        time.sleep(3600)

    def pump(self, source: socket.socket, target: socket.socket, side: str) -> None:
        counted = self.unit.startswith(side)
        by_chunk = self.unit.endswith("chunks")
        while not counted or self.done < self.limit:
            data = source.recv(BUFFER)
            if not data:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
            if counted:
                if not by_chunk:
                    data = data[: max(self.limit - self.done, 0)]
                self.done += 1 if by_chunk else len(data)
            with contextlib.suppress(OSError):
                target.sendall(data)


class Script:
    """Says and expects what it is told, then waits: `[["say", "220 hello\\r\\n"], ...]`."""

    def __init__(self, text: str) -> None:
        self.steps = json.loads(text)

    def serve(self, client: socket.socket) -> None:
        number = b""
        for verb, text in self.steps:
            data = text.encode("latin-1")
            if verb == "say":
                client.sendall(data.replace(b"{number}", number))
            elif verb == "number":  # of an LDAP message: 30 LENGTH 02 01 NUMBER
                number = client.recv(5)[4:]
            elif verb == "close":
                client.close()
                return
            else:
                seen = b""
                while data not in seen:
                    seen += client.recv(1)
        time.sleep(3600)


class Ftp:
    """Logs anybody in, and stops in the middle of a transfer."""

    def serve(self, client: socket.socket) -> None:
        lines = client.makefile("rb")
        client.sendall(b"220 ready\r\n")
        data = socket.create_server((HOST, 0))
        port = data.getsockname()[1]
        passive = f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255}).\r\n".encode()
        answers = {b"USER": b"331 password\r\n", b"PASS": b"230 in\r\n", b"PASV": passive}
        for line in lines:
            verb = line[:4].strip().upper()
            if verb == b"RETR":
                client.sendall(b"150 here it comes\r\n")
                connection, _ = data.accept()
                connection.sendall(b"x" * 100_000)
                time.sleep(3600)
            client.sendall(answers.get(verb, b"200 ok\r\n"))


def serve(handle: Callable[[socket.socket], None], backlog: int = 128) -> None:
    listener = socket.create_server((HOST, 0), backlog=backlog)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=quietly, args=(handle, client), daemon=True).start()


def quietly(handle: Callable[..., None], *arguments: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle(*arguments)


def end_with_stdin() -> None:
    sys.stdin.read()
    import os

    os._exit(0)


def blackhole() -> None:
    """Listen with a full queue: SYNs are dropped, as by a firewall."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


def main(arguments: List[str]) -> None:
    kind, *rest = arguments
    if kind == "blackhole":
        blackhole()
    elif kind == "ftp":
        serve(Ftp().serve)
    elif kind == "script":
        serve(Script(rest[0]).serve)
    else:
        upstream, unit, limit = int(rest[0]), rest[1], int(rest[2])
        serve(lambda client: Proxy(upstream, unit, limit).serve(client))


@contextlib.contextmanager
def stalling(*arguments: object) -> Iterator[int]:
    """Run one in a process of its own, and yield its port."""
    command = [sys.executable, "-m", "bench.waits.stalling", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


if __name__ == "__main__":
    main(sys.argv[1:])
