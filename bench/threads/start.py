"""What `Thread.start` costs with and without adoption: python -m bench.threads.start."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from typing import Callable, List

from resilient_wsgi import threads
from resilient_wsgi.settings.options import Threads

ROUNDS = 60
STARTS = 300
FRAMES = 30  # as deep as a view under Django stands


def deep(frames: int, call: Callable[[], float]) -> float:
    """Call from that many frames down."""
    return call() if frames == 0 else deep(frames - 1, call)


def starts() -> float:
    """Return the microseconds of processor time that the start and end of a thread take on average."""
    begin = time.process_time()
    for _ in range(STARTS):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    return (time.process_time() - begin) / STARTS * 1e6


def main() -> None:
    """Take turns, so that whatever else the machine does meets both, and print a row."""
    times: List[float] = []
    adopted: List[float] = []
    for _ in range(ROUNDS):
        threads.uninstall()
        times.append(deep(FRAMES, starts))
        threads.install(Threads(adopt=True))
        adopted.append(deep(FRAMES, starts))
    threads.uninstall()
    without, with_ = statistics.median(times), statistics.median(adopted)
    each = statistics.median(b / a for a, b in zip(times, adopted))
    print(
        "| CPython | without, µs | adopted, µs | ratio (median of pairs) | fastest without / adopted, "
        "µs |\n|---|---|---|---|---|"
    )
    print(
        f"| {sys.version.split()[0]} | {without:.1f} | {with_:.1f} | {each:.3f} | {min(times):.1f} "
        f"/ {min(adopted):.1f} |"
    )


if __name__ == "__main__":
    main()
