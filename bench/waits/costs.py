"""What a look and an end cost, by threads and descriptors: python -m bench.waits.costs."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from functools import partial
from typing import Any, Callable, List

from bench.report import machine, spread
from resilient_wsgi.host import waits, waits_chain
from resilient_wsgi.host.waits_chain import Still
from resilient_wsgi.host.waits_end import Ends

from .rig import Slot, fresh
from .stalling import stalling

ROUNDS = 60


def microseconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6


def waiting(sock: socket.socket) -> int:
    """Return the native id of a thread that waits for a socket."""
    ready: List[int] = []

    def wait() -> None:
        ready.append(threading.get_native_id())
        with contextlib.suppress(OSError):
            sock.recv(1)

    threading.Thread(target=wait, daemon=True).start()
    while not ready or waits.wait_of(ready[0]) is None:
        time.sleep(0.001)
    return ready[0]


def measure(ends: Ends, port: int, threads: int, descriptors: int) -> None:
    gate = threading.Event()
    idle = [threading.Thread(target=gate.wait, daemon=True) for _ in range(threads)]
    for each in idle:
        each.start()
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(descriptors)]
    looks, checks, held, whole = [], [], [], []
    original: Any = waits_chain._run  # noqa: SLF001

    def timed(*arguments: Any) -> bool:
        began = time.perf_counter()
        done: bool = original(*arguments)
        held.append((time.perf_counter() - began) * 1e6)
        return done

    setattr(waits_chain, "_run", timed)  # noqa: B010
    for _ in range(ROUNDS):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            native, slot = waiting(sock), Slot()
            slot.request = request = object()
            wait = waits.wait_of(native)
            assert wait is not None
            looks.append(microseconds(partial(waits.wait_of, native)))
            checks.append(microseconds(partial(ends.refusal, wait, list)))
            still = Still.attribute(slot, "request", request)
            whole.append(microseconds(partial(ends.end, wait, id(request), still, list)))
            time.sleep(0.002)
    setattr(waits_chain, "_run", original)  # noqa: B010
    gate.set()
    for fd in files:
        os.close(fd)
    cells = " | ".join(map(spread, (looks, checks, held, whole)))
    print(f"| {threads} | {descriptors} | {cells} |", flush=True)


def main() -> None:
    print(machine(), "\n")
    print(
        "| threads | descriptors | look, µs | checks, µs | with the GIL held, µs | end, all, µs |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    ends = fresh()
    with stalling("script", "[]") as port:
        for threads, descriptors in ((1, 10), (16, 100), (64, 1000)):
            measure(ends, port, threads, descriptors)


if __name__ == "__main__":
    main()
