"""A million lines of random length, up to PIPE_BUF, of eight processes with eight threads each,
through one pipe: how many are torn?

Each line carries its checksum. `python -m bench.stderr.torn [LINES]`.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import zlib
from typing import List, NamedTuple, Tuple

from bench.report import machine
from resilient_wsgi.host.linux import PIPE_BUF
from resilient_wsgi.stderr import NonBlockingStream

PROCESSES, THREADS = 8, 8
LINES = 1_000_000
PATIENCE_BYTES = 100_000
BLANKS = b"." * PIPE_BUF
NOTICE = b"resilient_wsgi: "


class Outcome(NamedTuple):
    """What became of the lines."""

    whole: int
    torn: int
    dropped: int
    seconds: float


def write(stream: NonBlockingStream, lines: int, seed: int) -> None:
    """Write so many lines, half of them by `print`, which writes the end of the line by itself."""
    dice = random.Random(seed)
    for number in range(lines):
        # most are short, some as long as may be: 8 of checksum, a blank, the line end
        body = BLANKS[: min(int(dice.paretovariate(0.5) * 10), PIPE_BUF - 10)]
        while stream.writer.waiting_bytes > PATIENCE_BYTES:  # what is dropped cannot be torn
            stream.drain(0.01)
        line = f"{zlib.crc32(body):08x} {body.decode()}"
        if number % 2:
            print(line, file=stream)
        else:
            stream.write(line + "\n")


def process(writing: int, lines: int, seed: int) -> int:
    """Fork a process that writes with its threads, and ends with the number of lines that it
    dropped on its exit pipe.
    """
    pid = os.fork()
    if pid:
        return pid
    stream = NonBlockingStream(writing)
    threads = [
        threading.Thread(target=write, args=(stream, lines, seed + number))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0 if stream.drain(60) else 1)


def read(reading: int) -> Tuple[int, int, int]:
    """Return how many lines came whole, torn, and were said to be dropped."""
    whole = torn = dropped = 0
    rest = b""
    while True:
        chunk = os.read(reading, 1 << 20)
        if not chunk:
            return whole, torn + bool(rest), dropped
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            checksum, _, body = line.partition(b" ")
            if line.startswith(NOTICE):
                dropped += int(line[len(NOTICE) :].split()[0])
            elif checksum == b"%08x" % zlib.crc32(body):
                whole += 1
            else:
                torn += 1


def measure(lines: int) -> Outcome:
    """Return what became of so many lines."""
    reading, writing = os.pipe()
    begin = time.monotonic()
    each = lines // (PROCESSES * THREADS)
    pids: List[int] = [process(writing, each, number * THREADS) for number in range(PROCESSES)]
    os.close(writing)
    whole, torn, dropped = read(reading)
    os.close(reading)
    for pid in pids:
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError("a process could not write all that it had kept")
    if whole + torn + dropped != each * PROCESSES * THREADS:
        msg = f"{whole} whole, {torn} torn and {dropped} dropped do not add up to {lines}"
        raise RuntimeError(msg)
    return Outcome(whole, torn, dropped, time.monotonic() - begin)


def run(lines: int = LINES) -> str:
    """Return the report."""
    outcome = measure(lines)
    return (
        f"{machine()}\n\n### {PROCESSES} processes with {THREADS} threads, one pipe\n\n"
        "| lines | whole | torn | dropped (said) | seconds |\n| --- | --- | --- | --- | --- |\n"
        f"| {lines} | {outcome.whole} | {outcome.torn} | {outcome.dropped} | {outcome.seconds:.1f} "
        "|\n"
    )


if __name__ == "__main__":
    sys.stdout.write(run(int(sys.argv[1]) if len(sys.argv) > 1 else LINES))
