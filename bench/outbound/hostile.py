"""Servers that do what upstreams do in an outage: say nothing, drip, redirect for ever, not read.

On 127.0.0.1 only.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional, Tuple

LONG = 6.0
"""How long the other side goes on, in seconds: what a client without limits takes."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Hostile:
    """A server of its own for each connection; the path says how it behaves."""

    def __init__(
        self,
        context: Optional[ssl.SSLContext] = None,
        seconds: float = LONG,
        address: Tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.seconds = seconds
        self._context = context
        self._listener = socket.create_server(address, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.over = threading.Event()
        self.connections = 0
        self._open: List[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Hostile:  # noqa: PYI034 - typing.Self is of 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._context:
                raw, sock = sock, self._context.wrap_socket(sock, server_side=True)
                self._open.remove(raw)
                self._open.append(sock)
            while self._one(sock):
                pass
        with contextlib.suppress(OSError):
            sock.close()

    def _one(self, sock: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(1) if not head else sock.recv(65536)
            if not data:
                return False
            head += data
        method, path = head.decode("latin-1").split(" ", 2)[:2]
        name, _, argument = (
            path.partition("://")[2].partition("/")[2].partition("/")
            if "://" in path
            else path[1:].partition("/")
        )
        if method == "CONNECT":
            name = "silent"
        BEHAVIOURS[name](self, sock, argument)
        return name in ("ok", "redirect", "retry_after", "big")

    def drip(self, sock: socket.socket, data: bytes) -> None:
        """Send data byte by byte, over the server's seconds."""
        pause = self.seconds / len(data)
        for i in range(len(data)):
            sock.sendall(data[i : i + 1])
            if self.over.wait(pause):
                return


def ok(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(OK)


def silent(server: Hostile, sock: socket.socket, argument: str) -> None:
    server.over.wait(server.seconds)


def drip_headers(server: Hostile, sock: socket.socket, argument: str) -> None:
    server.drip(sock, OK)


def drip_body(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
    server.drip(sock, b"x" * 30)


def late_body(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(OK[:-2])
    server.over.wait(server.seconds)
    sock.sendall(OK[-2:])


def events(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 30\r\n\r\n"
    )
    server.drip(sock, b"x" * 30)


def drip_chunks(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    server.drip(sock, b"1\r\nx\r\n" * 20 + b"0\r\n\r\n")


def drip_gzip(server: Hostile, sock: socket.socket, argument: str) -> None:
    import gzip

    body = gzip.compress(os.urandom(50))
    sock.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    server.drip(sock, body)


def upgrade(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    server.drip(sock, b"x" * 30)


def continues(server: Hostile, sock: socket.socket, argument: str) -> None:
    """Promise an answer again and again."""
    server.drip(sock, b"HTTP/1.1 100 Continue\r\n\r\n" * 40)
    sock.sendall(OK)


def early_hints(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
    sock.sendall(OK)


def redirect(server: Hostile, sock: socket.socket, argument: str) -> None:
    left = int(argument)
    server.over.wait(server.seconds / 8)
    if left:
        sock.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: /redirect/%d\r\nContent-Length: 0\r\n\r\n"
            % (left - 1)
        )
    else:
        sock.sendall(OK)


def retry_after(server: Hostile, sock: socket.socket, argument: str) -> None:
    sock.sendall(
        b"HTTP/1.1 503 Busy\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n"
        % (int(argument) if argument else 3600)
    )


def upload(server: Hostile, sock: socket.socket, argument: str) -> None:
    """Read a little now and then, never everything: each single write of the client's gets on."""
    end = time.monotonic() + server.seconds
    while time.monotonic() < end and not server.over.wait(0.3):
        if not sock.recv(256 * 1024):
            return


def big(server: Hostile, sock: socket.socket, argument: str) -> None:
    size = int(argument)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    block = memoryview(bytes(1024 * 1024))
    while size > 0:
        sock.sendall(block[: min(size, len(block))])
        size -= len(block)


BEHAVIOURS: Dict[str, Callable[[Hostile, socket.socket, str], None]] = {
    function.__name__: function
    for function in (
        ok, silent, drip_headers, drip_body, drip_chunks, drip_gzip, redirect, retry_after, upload,
        big, events, upgrade, late_body, continues, early_hints,
    )
}  # fmt: skip


@contextlib.contextmanager
def black_holes(count: int = 1) -> Iterator[Tuple[List[str], int]]:
    """Have addresses, all on one port, where a connection is never made: their listen queues are
    full. Linux only.
    """
    held: List[socket.socket] = []
    addresses = [f"127.0.0.{i + 1}" for i in range(count)]
    port = 0
    try:
        for address in addresses:
            listener = socket.socket()
            held.append(listener)
            listener.bind((address, port))
            port = listener.getsockname()[1]
            listener.listen(0)
            for _ in range(4):
                filler = socket.socket()
                held.append(filler)
                filler.setblocking(False)
                filler.connect_ex((address, port))
        time.sleep(0.05)
        yield addresses, port
    finally:
        for sock in held:
            sock.close()


@contextlib.contextmanager
def names(table: Dict[str, List[str]], stall: float = LONG) -> Iterator[None]:
    """Have host names with these addresses; any of `.stalled.test` takes `stall` seconds to be
    found unknown.
    """
    real = _socket.getaddrinfo  # beneath socket.getaddrinfo, which stays the interpreter's own

    def getaddrinfo(host, port, *args):  # type: ignore[no-untyped-def]
        host = host.decode() if isinstance(host, bytes) else host  # anyio's
        if str(host).endswith(".stalled.test"):
            time.sleep(stall)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host not in table:
            return real(host, port, *args)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]
        ]

    _socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        _socket.getaddrinfo = real


def certificate(folder: str) -> str:
    """Make a self-signed certificate for 127.0.0.1 and return the file that holds it and its key."""
    path = os.path.join(folder, "certificate.pem")
    key = os.path.join(folder, "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:dead.test", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    with open(path, "a") as both, open(key) as secret:
        both.write(secret.read())
    return path


def server_context(path: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
