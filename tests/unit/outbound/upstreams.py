"""What upstreams of the tests have in common: a listener, a thread for each connection, an end."""

from __future__ import annotations

import contextlib
import socket
import threading


class Threaded:
    """Serves each connection in a thread of its own, until the end of the block."""

    scheme = "http"

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{self.scheme}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock = self.opened(self.listener.accept()[0])
                self.threads.append(threading.Thread(target=self.serve, args=(sock,), daemon=True))
                self.threads[-1].start()

    def opened(self, sock):
        """Return what a connection is served on."""
        return sock

    def serve(self, sock):
        raise NotImplementedError
