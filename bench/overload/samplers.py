"""Processes that sample the listen queue all the time are killed in the middle of it, a thousand
times; by how much the waits that another one sees meanwhile are too long, or too short.

`python -m bench.overload.samplers [kills]`. 500 requests a second arrive by the clock, and the
queue is kept a hundred deep: so it is known when each has come.
"""

from __future__ import annotations

import mmap
import os
import signal
import statistics
import sys
import time
from random import Random
from typing import List, NoReturn

from bench.report import machine
from resilient_wsgi.overload import arrivals
from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.state import TOLERATED, State, bytes_for

PROCESSES = 4
PER_SECOND, DEPTH = 500.0, 100


class Line:
    """The queue as one process sees it."""

    def __init__(self, memory: memoryview[float], begin: float, row: int) -> None:
        self._begin = begin
        self.state = State(memory, PROCESSES, row)
        self.queue = Queue(self.state, self.depth, lambda: True)

    def depth(self) -> int:
        """Return how many wait."""
        arrived = int((time.monotonic() - self._begin) * PER_SECOND)
        return max(0, arrived - int(self.state.picked()))

    def pick_up(self) -> float:
        """Pick one up as soon as enough wait; return by how much its wait is not what is known."""
        while self.depth() <= DEPTH:
            time.sleep(0.0005)
        now = time.monotonic()
        waited = self.queue.picked_up(now) or 0.0
        self.queue.tolerance.picked(waited, dead=False)
        return waited - (now - self._begin - self.state.picked() / PER_SECOND)


def child(memory: memoryview[float], begin: float, row: int) -> NoReturn:
    """Pick up until killed."""
    try:
        line = Line(memory, begin, row)
        while True:
            line.pick_up()
    finally:
        os._exit(1)  # an error: nothing else ends it


def main(kills: str = "1000") -> None:
    """Print the table."""
    arrivals.TICK = 0.002  # nearly always one of them takes a sample
    memory = memoryview(mmap.mmap(-1, bytes_for(PROCESSES))).cast("d")
    memory[TOLERATED] = 1.0  # so that the limit is set each time
    begin, random, errors = time.monotonic(), Random(1), [0.0]
    children: List[int] = []

    def fork(row: int) -> int:
        return os.fork() or child(memory, begin, row)

    children = [fork(row) for row in range(1, PROCESSES)]
    line, failed = Line(memory, begin, 0), 0
    for _ in range(int(kills)):
        until = time.monotonic() + random.uniform(0.002, 0.02)
        while time.monotonic() < until:
            errors.append(line.pick_up())
        which = random.randrange(len(children))
        os.kill(children[which], signal.SIGKILL)
        _, status = os.waitpid(children[which], 0)
        failed += not os.WIFSIGNALED(status)
        children[which] = fork(which + 1)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    median = statistics.median(map(abs, errors))
    print(machine(), "\n")
    print(
        "| killed | failed | picked up | error, ms: median | longest | shortest |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"| {kills} | {failed} | {line.state.picked():.0f} | {median * 1000:.1f} | "
        f"{max(errors) * 1000:.1f} | {min(errors) * 1000:.1f} |"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
