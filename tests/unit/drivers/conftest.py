from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.drivers.component import Drivers
from resilient_wsgi.settings import options
from resilient_wsgi.testing import captured_events

LIMIT = 0.3
LATE = 2.0  # on a busy machine; without the limit a wait would last for ever


@pytest.fixture(autouse=True)
def drivers():
    """The component, installed; nothing is left installed after a test."""
    component = Drivers.here()
    component.install(options.Drivers())
    yield component
    component.uninstall()


@pytest.fixture
def happened():
    with captured_events() as events:
        yield events


class Stub:
    """A server that answers each connection with the replies it was given, then says nothing."""

    def __init__(self, replies=(), drip=b""):
        self.replies, self.drip = list(replies), drip
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self.listener.getsockname()[1]
        self.got, self.connections = [], 0
        self._open = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError):
            for expected, reply in self.replies:
                if expected:
                    self.got.append(client.recv(65536))
                client.sendall(reply)
            while self.drip:
                client.sendall(self.drip)
                time.sleep(0.05)

    def close(self):
        self.listener.close()
        for each in self._open:
            each.close()


@pytest.fixture
def stub():
    servers = []

    def start(*replies, drip=b""):
        servers.append(Stub(replies, drip))
        return servers[-1]

    yield start
    for each in servers:
        each.close()


@pytest.fixture
def blackhole():
    """A port whose queue is full: SYNs are dropped, as by a firewall."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for each in fillers:
        each.setblocking(False)
        each.connect_ex(listener.getsockname())
    yield listener.getsockname()[1]
    for each in (listener, *fillers):
        each.close()


@contextlib.contextmanager
def ended(kind=deadline.DeadlineExceeded, seconds=LIMIT, late=LATE):
    """A block that has to be ended by its limit, with an exception of this kind that is ours."""
    began = time.monotonic()
    with pytest.raises(kind) as raised, deadline.limit(seconds):
        yield raised
    took = time.monotonic() - began
    assert isinstance(raised.value, deadline.DeadlineExceeded), raised.value
    assert "limit 0.3 s (deadline.limit)" in str(raised.value)
    assert seconds - 0.01 <= took < seconds + late
