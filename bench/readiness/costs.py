"""What readiness costs those who serve: throughput beside workers that fail, a minute of failing,
probes, chain reloads.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Sequence, Tuple

from bench import report
from bench.readiness.cases import PROTECTION, Instance, instance, options
from lab.measuring import load, procfs
from lab.processes import Nginx, wait_until
from resilient_wsgi.readiness.states import PAUSING

if TYPE_CHECKING:
    from lab.processes.uwsgi import Option

Row = Tuple[object, ...]
PAIRS, RUN_SECONDS = 8, 6
MINUTE = 60.0
PROBES = 40
# in a minute, by FIRST_PAUSE and MAX_PAUSE less a fifth: failures 0, 0.8, 2.4, 5.6, 12, 24.8 and
# 48.8 s after the first
PLANNED_FAILURES = 7


def throughput() -> Iterator[Row]:
    """Requests per second of 2 healthy workers beside 2 that fail for ever, and of 2 alone,
    alternating.
    """
    rates: Dict[bool, List[float]] = {True: [], False: []}
    for _ in range(PAIRS):
        for beside in (True, False):
            with _two_healthy(beside) as running:
                rates[beside].append(_wrk(running.server.port, RUN_SECONDS))
    ratios = [beside / alone for beside, alone in zip(rates[True], rates[False])]
    yield (*(report.spread(rates[beside]) for beside in (True, False)), report.spread(ratios))


@contextlib.contextmanager
def _two_healthy(beside: bool) -> Iterator[Instance]:
    chosen, env = (
        options(processes=4 if beside else 2),
        {"WORK": "0", **({"ONLY": "12"} if beside else {})},
    )
    with instance(chosen, env=env) as running:
        running.full_strength()
        if beside:
            running.fail_ever("import")
            running.respawn(2)
            running.server.wait_for_log("has no app", count=2)
        yield running


def _wrk(port: int, seconds: int) -> float:
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    return float(found[1]) if found else 0.0


def minute() -> Iterator[Row]:
    """2 of 4 workers fail for ever: a minute of it, with the default settings."""
    with _two_healthy(True) as running:
        pid, before, begin = (
            running.server.pid,
            procfs.cpu_seconds(running.server.pid),
            time.monotonic(),
        )
        buried = _buried_cpu_seconds(pid)
        time.sleep(MINUTE)
        cpu = (procfs.cpu_seconds(pid) - before) / (time.monotonic() - begin)
        loads = (_buried_cpu_seconds(pid) - buried) / (time.monotonic() - begin)
        rows = running.rows()
        sizes = {row.state == PAUSING: _resident_mb(row.pid) for row in rows}
        respawns = running.server.log().count("Respawned")
        yield (
            respawns, f"{2 + 2 * PLANNED_FAILURES}", f"{cpu * 100:.2f} %", f"{loads * 100:.2f} %",
            f"{sizes.get(True, 0):.0f} MB",
            f"{sizes.get(False, 0):.0f} MB",
        )  # fmt: skip


def _buried_cpu_seconds(master: int) -> float:
    """Return the processor time of all workers that have ended."""
    fields = Path(f"/proc/{master}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def probe() -> Iterator[Row]:
    """The exec probe and the HTTP probe: idle, and with a full queue whose workers are stopped, or
    compute on all processors.
    """
    for state in ("idle", "queue full, workers stopped", "queue full, workers compute"):
        chosen = {**checked(), "listen": 64, "processes": max(2, os.cpu_count() or 1)}
        with instance(chosen, ready="^WSGI app 0") as running:
            wait_until(lambda: load.get(running.server.port, "/-/ready").status == "200", 10)
            with _full_queue(running, state) if state != "idle" else contextlib.nullcontext():
                yield (state, *_probes(running))


@contextlib.contextmanager
def _full_queue(running: Instance, state: str) -> Iterator[None]:
    clients, workers = [], running.server.workers() if state.endswith("stopped") else []
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(90):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", running.server.port))
            with contextlib.suppress(OSError):  # the queue is full
                client.send(b"GET /busy HTTP/1.0\r\n\r\n")
            clients.append(client)
        time.sleep(1.0)
        yield
    finally:
        for client in clients:
            client.close()
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def _probes(running: Instance) -> Row:
    command = [
        str(Path(sys.executable).with_name("resilient-wsgi")),
        "ready",
        str(running.server.pid),
    ]
    told, codes = _timed(command)
    bare, _ = _timed([sys.executable, "-c", "pass"])
    answer = load.get(running.server.port, "/-/ready", patience=2.0)
    return told, bare, codes, f"{answer.status} after {answer.end - answer.begin:.2f} s"


def _timed(command: Sequence[str]) -> Tuple[str, object]:
    times, codes, before = [], set(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(PROBES):
        begin = time.monotonic()
        codes.add(subprocess.run(command, capture_output=True, check=False).returncode)
        times.append((time.monotonic() - begin) * 1000)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / PROBES * 1000
    return (
        (
            f"{statistics.median(times):.0f} / {statistics.quantiles(times, n=20)[-1]:.0f} / {cpu:.0f} "
            "ms"
        ),
        codes,
    )


def chain() -> Iterator[Row]:
    """50 chain reloads under load, nginx in front; a worker is cold for 0.3 s after its load."""
    for protected in (False, True):
        yield _chain(protected, 50 if protected else 5)


def _chain(protected: bool, reloads: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        touch = Path(folder, "chain")
        touch.touch()
        chosen = {**checked(), "touch-chain-reload": str(touch), "worker-reload-mercy": 10}
        if not protected:
            chosen = {key: value for key, value in chosen.items() if key not in PROTECTION}
        with (
            instance(
                chosen, env={"WARM_SECONDS": "0.3"}, ready="^WSGI app 0", listen_on="uwsgi"
            ) as running,
            Nginx([running.server.address], read_timeout=10) as nginx,
        ):
            wait_until(lambda: load.get(nginx.port, "/").good, 10)
            begin = time.monotonic()
            with load.Load(nginx.port, [load.Rate("/", 60)], patience=10.0, seconds=400) as traffic:
                for number in range(reloads):
                    stamp = time.time() + number * 2 + 2
                    os.utime(touch, (stamp, stamp))
                    running.server.wait_for_log("chain reloading complete", 60, count=number + 1)
            cold = sum(answer.status == "503" for answer in traffic.answers)
            failed = sum(not answer.good for answer in traffic.answers) - cold
            return (
                "with" if protected else "without", reloads, len(traffic.answers), failed, cold,
                f"{(time.monotonic() - begin) / reloads:.1f} s",
            )  # fmt: skip


def checked() -> Dict[str, Option]:
    """Return the options of the app that has readiness checks."""
    return {**options(processes=2), "module": "readiness_checked_app", **PROTECTION}
