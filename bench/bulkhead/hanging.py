"""An upstream that hangs from the first call on, in a phase of one's choice."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import List

PHASES = ("connect", "tls", "headers", "body")


class Hanging:
    """Hangs in one of the `PHASES`; `held` has for how many seconds each caller has waited."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._kept: List[socket.socket] = []
        self.held: List[float] = []
        self._listener = socket.create_server(
            ("127.0.0.1", 0), backlog=0 if phase == "connect" else 64
        )
        self.port = self._listener.getsockname()[1]
        scheme = "https" if phase == "tls" else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}/"
        if phase == "connect":
            self._fill()
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _fill(self) -> None:
        """Fill the listen queue, so that later connections are not even made."""
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
            self._kept.append(sock)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._kept.append(sock)
                threading.Thread(target=self._hold, args=(sock,), daemon=True).start()
                if self._phase == "body":
                    sock.recv(65536)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    def _hold(self, sock: socket.socket) -> None:
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            while self._phase == "headers" and sock.recv(65536):
                pass
        self.held.append(time.monotonic() - begin)  # until the caller has closed it

    def __enter__(self) -> Hanging:  # noqa: PYI034 - Self is in typing since 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for sock in self._kept:
            sock.close()
