"""What a line of 120 bytes to standard error costs, beside its peers: one thread and eight, pipe
drained and pipe full.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import logging.handlers
import os
import queue
import statistics
import sys
import threading
import time
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Sequence, Tuple

from bench.report import alternating, machine
from bench.stderr.in_a_view import in_a_view
from resilient_wsgi.host.linux import F_SETPIPE_SZ
from resilient_wsgi.stderr import NonBlockingHandler, NonBlockingStream

ROUNDS = 11
LINES = 8000  # they fit into a pipe of 1 MiB
FAILING = "StreamHandler, sys.stderr elsewhere"
# each takes up to 0.1 ms when it fails
FULL_LINES = {FAILING: 400, "QueueHandler + QueueListener": 400}
MESSAGE = "x" * 119
LINE = MESSAGE + "\n"
RECORD = logging.LogRecord("bench", logging.INFO, __file__, 1, MESSAGE, (), None)

Write = Callable[[], object]
Contestant = Callable[[int], ContextManager[Write]]


def text_stream(fd: int) -> io.TextIOWrapper:
    """Return what `sys.stderr` is, for another descriptor."""
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True
    )


@contextlib.contextmanager
def closing(stream: io.TextIOWrapper) -> Iterator[None]:
    """Take the stream apart after the block, with its pipe gone: on a full one it would raise."""
    try:
        yield
    finally:
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), stream.fileno())
        stream.detach()


@contextlib.contextmanager
def plain(fd: int) -> Iterator[Write]:
    """`sys.stderr.write` and flush."""
    stream = text_stream(fd)

    def write() -> None:
        with contextlib.suppress(BlockingIOError):
            stream.write(LINE)
            stream.flush()

    def write_drained() -> None:
        stream.write(LINE)
        stream.flush()

    with closing(stream):
        yield write_drained if os.get_blocking(fd) else write


@contextlib.contextmanager
def ours(fd: int) -> Iterator[Write]:
    """`NonBlockingStream.write`, which needs no flush."""
    stream = NonBlockingStream(fd)

    def write() -> None:
        stream.write(LINE)

    yield write


@contextlib.contextmanager
def taken_over(fd: int) -> Iterator[Write]:
    """`NonBlockingStream.write` where the descriptor was taken over, as in uWSGI: a plain write
    does not block there.
    """
    private = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with ours(private) as write:
            yield write
    finally:
        os.close(private)


@contextlib.contextmanager
def structlogs(fd: int) -> Iterator[Write]:
    """structlog's `PrintLogger`, which has a lock for each file."""
    import structlog

    stream = text_stream(fd)
    logger = structlog.PrintLogger(stream)

    def write() -> None:
        with contextlib.suppress(BlockingIOError):
            logger.msg(MESSAGE)

    with closing(stream):
        yield write


@contextlib.contextmanager
def stream_handler(fd: int) -> Iterator[Write]:
    """`logging.StreamHandler`, which writes a traceback to `sys.stderr` when it fails; here that
    fails at once, too.
    """
    stream, before = text_stream(fd), sys.stderr
    handler = logging.StreamHandler(stream)
    sys.stderr = text_stream(fd)
    try:
        with closing(stream), closing(sys.stderr):
            yield lambda: handler.handle(RECORD)
    finally:
        sys.stderr = before


@contextlib.contextmanager
def failing_handler(fd: int) -> Iterator[Write]:
    """Write to a log that is full, while `sys.stderr` takes what it is given: a traceback for each
    record.
    """
    stream, before = text_stream(fd), sys.stderr
    handler = logging.StreamHandler(stream)
    with open(os.devnull, "w", encoding="utf-8") as devnull, closing(stream):
        sys.stderr = devnull
        try:
            yield lambda: handler.handle(RECORD)
        finally:
            sys.stderr = before


@contextlib.contextmanager
def our_handler(fd: int) -> Iterator[Write]:
    """`NonBlockingHandler`."""
    handler = NonBlockingHandler(NonBlockingStream(fd))
    yield lambda: handler.handle(RECORD)


@contextlib.contextmanager
def queue_handler(fd: int) -> Iterator[Write]:
    """`QueueHandler` and `QueueListener`: what the caller waits for.

    On a full pipe the queue (of 100) is full as well.
    """
    drained = os.get_blocking(fd)
    records: Any = queue.Queue(-1 if drained else 100)
    handler = logging.handlers.QueueHandler(records)
    stream, before = text_stream(fd), sys.stderr
    target = logging.StreamHandler(stream)
    listener = logging.handlers.QueueListener(records, target)
    if drained:
        listener.start()
    sys.stderr = text_stream(fd)
    try:
        with closing(stream), closing(sys.stderr):
            yield lambda: handler.handle(RECORD)
            if drained:
                listener.stop()
    finally:
        sys.stderr = before


STREAMS: Dict[str, Contestant] = {
    "sys.stderr.write + flush": plain,
    "NonBlockingStream": ours,
    "NonBlockingStream, taken over": taken_over,
    "structlog PrintLogger": structlogs,
}
HANDLERS: Dict[str, Contestant] = {
    "StreamHandler": stream_handler,
    FAILING: failing_handler,
    "NonBlockingHandler": our_handler,
    "QueueHandler + QueueListener": queue_handler,
}
# "failing" depends on where: the traceback is written with the stack of whoever logs
FAILED = {name: HANDLERS[name] for name in ("StreamHandler", FAILING, "NonBlockingHandler")}


@contextlib.contextmanager
def pipe(*, full: bool) -> Iterator[Tuple[int, int]]:
    """Yield a pipe of 1 MiB. If full, it does not block, or its peers would for good."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, F_SETPIPE_SZ, 1 << 20)
        os.set_blocking(reading, False)
        if full:
            os.set_blocking(writing, False)
            for size in (4096, 1):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(writing, b"x" * size)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def microseconds(contestant: Contestant, *, lines: int, threads: int, full: bool) -> float:
    """Return what one line costs."""
    with pipe(full=full) as (_, writing), contestant(writing) as write:
        for _ in range(200):  # until what is bounded is full, and the interpreter warm
            write()
        each = lines // threads - 200 // threads
        if threads == 1:
            begin = time.perf_counter()
            for _ in range(each):
                write()
            return (time.perf_counter() - begin) / each * 1e6
        return _with_threads(write, each, threads) / (each * threads) * 1e6


def _with_threads(write: Write, each: int, count: int) -> float:
    gate = threading.Barrier(count + 1)

    def work() -> None:
        gate.wait()
        for _ in range(each):
            write()
        gate.wait()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    gate.wait()
    begin = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - begin
    for thread in threads:
        thread.join()
    return seconds


def compare(
    contestants: Dict[str, Contestant], *, threads: int, full: bool
) -> Dict[str, Sequence[float]]:
    """Return the figures of alternating runs."""
    runs: Dict[str, List[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, contestant in contestants.items():
            lines = FULL_LINES.get(name, LINES) if full else LINES
            runs[name].append(
                microseconds(contestant, lines=max(lines, 400), threads=threads, full=full)
            )
    return dict(runs)


def run() -> str:
    """Return the report."""
    try:
        said = machine("structlog")
    except ImportError:  # PackageNotFoundError
        STREAMS.pop("structlog PrintLogger", None)
        said = machine() + ", structlog not installed"
    parts = [
        f"{said}; runs alternate; the call of an empty function, {empty():.2f}, is in every figure"
    ]
    for full in (False, True):
        for threads in (1, 8):
            what = f"pipe {'full' if full else 'drained'}, {threads} thread{'s' * (threads > 1)}"
            streams = compare(STREAMS, threads=threads, full=full)
            handlers = compare(HANDLERS, threads=threads, full=full)
            unit = "microseconds a line"
            parts += [
                alternating(f"Stream, {what}", unit, streams, "sys.stderr.write + flush"),
                alternating(f"logging, {what}", unit, handlers, "StreamHandler"),
            ]
    depth, in_view = in_a_view(lambda: compare(FAILED, threads=1, full=True))
    title = f"logging, pipe full, 1 thread, in a Django view ({depth} frames deep)"
    parts.append(alternating(title, "microseconds a line", in_view, "NonBlockingHandler"))
    return "\n\n".join(parts)


def empty() -> float:
    """Return what the measuring itself costs, in microseconds."""

    def nothing() -> None:
        return None

    figures = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(LINES):
            nothing()
        figures.append((time.perf_counter() - begin) / LINES * 1e6)
    return statistics.median(figures)


if __name__ == "__main__":
    sys.stdout.write(run())
