"""Clients by the million, for soaks: they come at random, whatever becomes of those before, each
with its patience, and one loop without threads or coroutines serves them all. A client costs a
tenth of a millisecond of CPU.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from heapq import heappop, heappush
from random import Random
from typing import Callable, Dict, List, NamedTuple, Tuple

GAVE_UP, REFUSED, CUT_OFF = "gave up", "refused", "cut off"


class Client(NamedTuple):
    """Whom a request is of: for what it asks, how long it waits, and whether it hangs up on purpose
    then, with each letter typed, for one.
    """

    path: str
    patience: float
    on_purpose: bool = False


class Crowd:
    """Clients of an HTTP socket, UNIX or TCP on 127.0.0.1.

    `answers` counts what became of those who wanted an answer: the status, or one of the words
    above; `on_purpose` of the others. `stamped`: each says when it was sent, as a router does.
    """

    def __init__(
        self,
        address: str | int,
        client: Callable[[Random], Client],
        seed: int,
        *,
        stamped: bool = False,
    ) -> None:
        self._address = address if isinstance(address, str) else ("127.0.0.1", address)
        self._family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._client = client
        self._stamped = stamped
        self._random = Random(seed)
        self._epoll = select.epoll()
        self._asked: Dict[int, Tuple[socket.socket, Client, int]] = {}
        self._patience: List[Tuple[float, int, int]] = []
        self._number = 0
        self.answers: Counter[str] = Counter()
        self.on_purpose: Counter[str] = Counter()

    def ask(self, count: int, rate: float, until: float = float("inf")) -> None:
        """Let so many come, so many a second, and wait for what becomes of them; none after
        `until`, on the monotonic clock.
        """
        coming = time.monotonic()
        while count > 0 or self._asked:
            now = time.monotonic()
            if now > until:
                count = 0
            while count > 0 and coming <= now:
                self._come(now)
                count -= 1
                coming += self._random.expovariate(rate)
            self._give_up(now)
            self._wait(coming if count > 0 else now + 0.1)

    def _come(self, now: float) -> None:
        client = self._client(self._random)
        connection = socket.socket(self._family)
        connection.setblocking(False)
        self._number += 1
        try:
            connection.connect(self._address)
        except BlockingIOError:
            if self._family == socket.AF_UNIX:  # the queue is full
                connection.close()
                self._note(client, REFUSED)
                return
        except OSError:
            connection.close()
            self._note(client, REFUSED)
            return
        fd = connection.fileno()
        self._asked[fd] = connection, client, self._number
        heappush(self._patience, (now + client.patience, fd, self._number))
        self._epoll.register(fd, select.EPOLLOUT)

    def _give_up(self, now: float) -> None:
        while self._patience and self._patience[0][0] <= now:
            _, fd, number = heappop(self._patience)
            asked = self._asked.get(fd)
            if asked is not None and asked[2] == number:
                self._end(fd, GAVE_UP)

    def _wait(self, until: float) -> None:
        if self._patience:
            until = min(until, self._patience[0][0])
        for fd, events in self._epoll.poll(max(0.0, until - time.monotonic())):
            connection, client, _ = self._asked[fd]
            if events & select.EPOLLOUT:
                self._send(fd, connection, client)
            else:
                self._receive(fd, connection)

    def _send(self, fd: int, connection: socket.socket, client: Client) -> None:
        try:
            stamp = f"X-Request-Start: t={time.time():.3f}\r\n" if self._stamped else ""
            connection.send(
                f"GET {client.path} HTTP/1.0\r\nHost: localhost\r\n{stamp}\r\n".encode()
            )
        except OSError:
            self._end(fd, CUT_OFF)
        else:
            self._epoll.modify(fd, select.EPOLLIN)

    def _receive(self, fd: int, connection: socket.socket) -> None:
        try:
            head = connection.recv(4096)
        except OSError:
            head = b""
        self._end(fd, head[9:12].decode() if head[:5] == b"HTTP/" else CUT_OFF)

    def _end(self, fd: int, what: str) -> None:
        connection, client, _ = self._asked.pop(fd)
        connection.close()
        self._note(client, what)

    def _note(self, client: Client, what: str) -> None:
        (self.on_purpose if client.on_purpose else self.answers)[what] += 1
