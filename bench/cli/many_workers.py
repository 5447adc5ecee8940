"""What looking at an instance with many workers takes: stacks, status and ready, on real uWSGI.

    python -m bench.cli.many_workers [workers ...]

Each verb is a process of its own, as an operator runs it; its time includes Python's start. The
workers are idle; at last each runs a request that holds the GIL, so that none can answer and all
have to be signalled. With `--baseline PATH` the same verbs are also run from another checkout of
the library (with its own server), in the same run.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from typing import Dict, NamedTuple, Sequence

from bench.report import machine
from lab.measuring import load
from lab.processes import Server, wait_until
from lab.processes.uwsgi import Option

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VERBS: Dict[str, Sequence[str]] = {
    "stacks": ("stacks",),
    "status": ("status",),
    "ready": ("ready",),
}
HEADER = (
    "| workers | verb | median | slowest | CPU of the command | exit codes | answers |\n"
    "|---|---|---|---|---|---|---|"
)


class Run(NamedTuple):
    """One run of a verb: wall time, CPU time of the command itself, exit code, output."""

    seconds: float
    cpu: float
    code: int
    text: str


def server(workers: int, path: str) -> Server:
    options: Dict[str, Option] = {
        "module": "bench.cli.app",
        "pythonpath": [path, ROOT],
        "master": True,
        "need-app": True,
        "listen": 1000,
        "disable-logging": True,
        "enable-threads": True,
        "processes": workers,
        "shared-import": "resilient_wsgi.uwsgi",
        "hook-accepting": "rpc:resilient_wsgi_ready",
        "reload-mercy": 1,
        "worker-reload-mercy": 1,
    }
    return Server(options, env={"PYTHONPATH": path}, start_timeout=120)


def run(verb: Sequence[str], pid: int, path: str) -> Run:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "resilient_wsgi", *verb, str(pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout
    text = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    return Run(seconds, usage.ru_utime + usage.ru_stime, process.returncode, text)


def answered(text: str) -> int:
    """Return how many workers have shown their stacks."""
    return sum("hread " in part for part in re.split(r"^=== ", text, flags=re.MULTILINE)[1:])


def serve_all(instance: Server, workers: int, path: str) -> None:
    """Wait until each worker has its socket for stacks."""
    load.burst(instance.port, "/", min(4 * workers, 500), 30.0)
    assert wait_until(
        lambda: run(("ready", f"--workers={workers}"), instance.pid, path).code == 0, 120
    )


def measure(workers: int, rounds: int, path: str, name: str) -> None:
    with server(workers, path) as instance:
        serve_all(instance, workers, path)
        for verb, command in VERBS.items():
            show(
                f"{workers}{name}", verb, [run(command, instance.pid, path) for _ in range(rounds)]
            )
        hold_all(instance, workers)
        stuck = [run(("stacks",), instance.pid, path)]
        show(f"{workers}{name}", "stacks, GIL held in all", stuck)


def show(workers: str, verb: str, runs: Sequence[Run]) -> None:
    seconds = [each.seconds for each in runs]
    codes = " ".join(str(code) for code in sorted({each.code for each in runs}))
    count = f"{min(answered(each.text) for each in runs)}" if verb.startswith("stacks") else ""
    print(
        f"| {workers} | {verb} | {statistics.median(seconds):.2f} s | {max(seconds):.2f} s | "
        f"{statistics.median(each.cpu for each in runs):.2f} s | {codes} | {count} |",
        flush=True,
    )


def hold_all(instance: Server, workers: int) -> None:
    """Have each worker run a request that holds the GIL for long; nobody waits for the answers."""
    for _ in range(workers):
        with socket.create_connection(("127.0.0.1", instance.port)) as client:
            client.sendall(b"GET /hold-the-gil HTTP/1.0\r\n\r\n")
    time.sleep(2.0)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workers", nargs="*", type=int, default=[64, 300])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--baseline", metavar="PATH", help="another checkout, beside this one")
    chosen = parser.parse_args(arguments)
    print(f"Measured on {machine()}.\n\n{HEADER}")
    for workers in chosen.workers:
        if chosen.baseline:
            measure(workers, chosen.rounds, os.path.abspath(chosen.baseline), " (before)")
        measure(workers, chosen.rounds, ROOT, "")


if __name__ == "__main__":
    main(sys.argv[1:])
