"""A small HTTP load generator: many requests at once, each with the patience of its client, every
answer on record.

It is bounded in count and in time, and never retries. Two kinds of load: at a fixed rate, whatever
becomes of the answers (as the world outside does), and by a fixed number of clients, each of which
asks again when it has its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Dict, List, Sequence, Union

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

Address = Union[int, str]  # a TCP port of 127.0.0.1, or the path of a UNIX socket
# the client's patience ended, or the connection was closed without an answer
NO_ANSWER = "no answer"
REFUSED = "refused"  # no connection at all


@dataclass(frozen=True)
class Answer:
    """What became of one request.

    `status` is the HTTP status as text, or NO_ANSWER or REFUSED; times are time.monotonic().
    """

    path: str
    status: str
    begin: float
    end: float
    worker: str = ""

    @property
    def good(self) -> bool:
        """Whether it is a 2xx."""
        return self.status.startswith("2")


async def fetch(address: Address, path: str, patience: float, *, stamped: bool = False) -> Answer:
    """Send one GET and wait for the whole answer, at most `patience` seconds; `stamped` with the
    time at which it was sent, as a router does it.
    """
    begin = time.monotonic()
    head = b""
    try:
        head = await asyncio.wait_for(_exchange(address, path, stamped), patience)
        status = head.split(b" ", 2)[1].decode() if head.startswith(b"HTTP/") else NO_ANSWER
    except (asyncio.TimeoutError, ConnectionResetError, BrokenPipeError):
        status = NO_ANSWER
    except OSError as error:
        # a UNIX socket with a full queue refuses with EAGAIN at once, TCP lets the client wait
        status = (
            REFUSED
            if error.errno in (errno.ECONNREFUSED, errno.EAGAIN, errno.ENOENT)
            else NO_ANSWER
        )
    return Answer(path, status, begin, time.monotonic(), _header(head, b"x-worker"))


async def _exchange(address: Address, path: str, stamped: bool) -> bytes:
    stamp = f"X-Request-Start: t={time.time():.3f}\r\n" if stamped else ""
    if isinstance(address, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", address)
    else:
        reader, writer = await asyncio.open_unix_connection(sock=_connected(address))
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n{stamp}\r\n".encode())
        return (await reader.read()).partition(b"\r\n\r\n")[0]
    finally:
        writer.close()


def _connected(path: str) -> socket.socket:
    """Connect to a UNIX socket, or raise BlockingIOError if its queue is full, which asyncio would
    wait for without end.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode()
    return ""


def get(address: Address, path: str, patience: float = 5.0) -> Answer:
    """Send one GET from a thread without an event loop."""
    return asyncio.run(fetch(address, path, patience))


@dataclass(frozen=True)
class Rate:
    """`per_second` requests a second for `path`, whatever becomes of the answers."""

    path: str
    per_second: float


@dataclass
class Load:
    """Load that runs in a thread of its own for as long as the block lasts, and at most `seconds`.

    `answers` grows while it runs, in the order in which the answers came. Leaving the block waits
    for what is under way, so at most `patience`.
    """

    address: Address
    rates: Sequence[Rate]
    patience: float = 3.0
    seconds: float = 60.0
    answers: List[Answer] = field(default_factory=list)
    stamped: bool = False
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def end(self) -> None:
        """Send nothing more."""
        self._stopped.set()

    def stop(self) -> None:
        """Send nothing more and wait for what is under way."""
        self.end()
        if self._thread is not None:
            self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._send(rate) for rate in self.rates))

    async def _send(self, rate: Rate) -> None:
        begin = time.monotonic()
        under_way = []
        while not self._stopped.is_set() and time.monotonic() - begin < self.seconds:
            under_way.append(asyncio.ensure_future(self._one(rate.path)))
            await asyncio.sleep(
                max(0.0, begin + len(under_way) / rate.per_second - time.monotonic())
            )
        await asyncio.gather(*under_way)

    async def _one(self, path: str) -> None:
        self.answers.append(await fetch(self.address, path, self.patience, stamped=self.stamped))


def burst(address: Address, path: str, count: int, patience: float) -> List[Answer]:
    """Send `count` requests at once and return their answers."""

    async def run() -> List[Answer]:
        return list(await asyncio.gather(*(fetch(address, path, patience) for _ in range(count))))

    return asyncio.run(run())


def closed_loop(
    address: Address,
    path: str,
    *,
    count: int,
    clients: int,
    patience: float,
    give_up: Callable[[List[Answer]], bool] = lambda _: False,
) -> List[Answer]:
    """Let some clients send `count` requests between them, one after the other each; stop early if
    `give_up` says so.
    """
    answers: List[Answer] = []
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            answers.append(await fetch(address, path, patience))
            if give_up(answers):
                return

    async def run() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(run())
    return answers


def by_status(answers: Sequence[Answer]) -> Dict[str, int]:
    """Count the answers by status."""
    counts: Dict[str, int] = {}
    for answer in answers:
        counts[answer.status] = counts.get(answer.status, 0) + 1
    return counts


def summary(answers: Sequence[Answer]) -> str:
    """Return for example "12 x 200, 3 x 500"."""
    return (
        ", ".join(f"{count} x {status}" for status, count in sorted(by_status(answers).items()))
        or "none"
    )


def poll_until_good(
    address: Address, path: str, *, deadline: float, patience: float = 1.0, pause: float = 0.1
) -> float | None:
    """Ask again and again until the answer is good; return after how many seconds that was, None if
    never within `deadline`.
    """
    begin = time.monotonic()
    while time.monotonic() - begin < deadline:
        with contextlib.suppress(OSError):
            if get(address, path, patience).good:
                return time.monotonic() - begin
        time.sleep(pause)
    return None
