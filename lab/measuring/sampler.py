"""Records what happens over time: answers a second by status, the listen queue's depth, blocked
threads, and marked moments.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Dict, List, Sequence, Tuple

from lab.measuring import procfs

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from lab.measuring.load import Answer

SAMPLE_SECONDS = 0.1
# what a thread sleeps in when another process must do something first: a full pipe, a silent socket,
# a lock. A worker that waits for its next request sleeps in epoll or accept, which are not here
IN_WRITE = ("pipe_write", "anon_pipe_write")
BLOCKED_IN = (
    *IN_WRITE, "wait_woken", "sk_wait_data", "unix_stream_read_generic", "poll_schedule_timeout",
    "do_poll", "pipe_wait",
)  # fmt: skip


@dataclass
class Series:
    """What was recorded; all times are seconds since the beginning.

    `answers` holds (when it came, status), `queue`, `blocked` and `held` (when, how many; the last:
    threads that wait for the upstream), `moments` (when, what happened), `waits` (when a good answer came, how long it took) and `allowed` (when, which
    wait was not shed, None for any), where these are of interest. `capacity` is how many answers a second there can be at most, where that is
    known.
    """

    seconds: float = 0.0
    answers: List[Tuple[float, str]] = field(default_factory=list)
    queue: List[Tuple[float, int]] = field(default_factory=list)
    blocked: List[Tuple[float, int]] = field(default_factory=list)
    held: List[Tuple[float, int]] = field(default_factory=list)
    moments: List[Tuple[float, str]] = field(default_factory=list)
    capacity: float | None = None
    waits: List[Tuple[float, float]] = field(default_factory=list)
    allowed: List[Tuple[float, float | None]] = field(default_factory=list)

    def answers_per_second(self, bin_seconds: float = 0.5) -> Dict[str, List[float]]:
        """Return for each status the answers a second in consecutive bins."""
        bins = int(self.seconds / bin_seconds) + 1
        rates: Dict[str, List[float]] = {}
        for at, status in self.answers:
            if 0 <= at <= self.seconds:
                rates.setdefault(status, [0.0] * bins)[int(at / bin_seconds)] += 1 / bin_seconds
        return rates


def blocked_threads(pids: Sequence[int], waits: Sequence[str] = BLOCKED_IN) -> int:
    """Count the threads of these processes that sleep in one of these kernel functions."""
    return sum(wait.split(".")[0] in waits for pid in pids for wait in procfs.thread_waits(pid))


class Sampler:
    """Samples in a thread of its own while the block lasts.

    :param queue: says how many connections wait; it may raise OSError while the server is not
    there, which counts as 0. :param blocked: says how many threads are blocked. :param held: says
    how many of them wait for the upstream, where that is of interest.

    `begin` is the time.monotonic() of the beginning.
    """

    def __init__(
        self,
        queue: Callable[[], int],
        blocked: Callable[[], int],
        held: Callable[[], int] | None = None,
    ) -> None:
        self.series = Series()
        self._held = held
        self._queue = queue
        self._blocked = blocked
        self.begin = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Self:
        self.begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self.series.seconds = self.now()

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.begin

    def mark(self, what: str) -> float:
        """Note that something happens now; return the time."""
        at = self.now()
        self.series.moments.append((at, what))
        return at

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Put the answers of a load on record."""
        self.series.answers += [(answer.end - self.begin, answer.status) for answer in answers]

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            at = self.now()
            self.series.queue.append((at, _count(self._queue)))
            self.series.blocked.append((at, _count(self._blocked)))
            if self._held is not None:
                self.series.held.append((at, _count(self._held)))


def _count(source: Callable[[], int]) -> int:
    try:
        return source()
    except OSError:
        return 0
