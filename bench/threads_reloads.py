"""Reload again and again under load: requests that fail, and what the master gains.

python -m bench.threads_reloads --reloads 200

wrk through nginx; plain uWSGI without a background thread beside the guarded one with a thread that nobody tells to stop.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from bench.threads_exits import gone, serves
from lab.processes import Nginx, Server, wait_until
from lab.processes.base import find_tool

PROCESSES = 2
CLIENTS = 8
SETTLE = 3  # reloads before the master is measured for the first time
APP = """
import threading, time
def loop():
    while True:
        time.sleep(10)
if %r:
    threading.Thread(target=loop, name="stubborn").start()
def application(environ, start_response):
    time.sleep(0.005)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@dataclass
class Master:
    """What the master has."""

    descriptors: int
    threads: int
    resident_kib: int


def master(pid: int) -> Master:
    """Look at a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    threads, resident = (int(re.search(rf"^{key}:\s*(\d+)", status, re.MULTILINE)[1]) for key in ("Threads", "VmRSS"))  # type: ignore[index]
    return Master(len(os.listdir(f"/proc/{pid}/fd")), threads, resident)


def reload(server: Server) -> float:
    """Reload once; return how long it took until all new workers served."""
    old = set(server.workers())
    begin = time.monotonic()
    server.signal(signal.SIGHUP)

    def fresh() -> List[int]:
        return [pid for pid in server.workers() if pid not in old]

    if not wait_until(lambda: all(gone(pid) for pid in old), 30):
        raise server.error("still has old workers")
    if not wait_until(lambda: len(fresh()) == PROCESSES and all(serves(pid) for pid in fresh()), 30):
        raise server.error("has no new workers")
    return time.monotonic() - begin


def run(*, guarded: bool, lazy: bool, reloads: int) -> str:
    """Do one run and return its row."""
    with tempfile.TemporaryDirectory(prefix="reloads-") as name:
        Path(name, "app.py").write_text(APP % guarded)
        options: Dict[str, object] = {
            "master": True, "processes": PROCESSES, "threads": 2, "enable-threads": True, "listen": 100,
            "wsgi-file": f"{name}/app.py", "disable-logging": True, "worker-reload-mercy": 30,
        }  # fmt: skip
        if lazy:
            options["lazy-apps"] = True
        if guarded:
            options["shared-import"] = "resilient_wsgi.uwsgi"
        env = {"PYTHONPATH": os.getcwd()}
        with Server(options, listen_on="unix", env=env) as server, Nginx([server.socket_path]) as nginx:  # type: ignore[arg-type]
            wait_until(lambda: all(serves(pid) for pid in server.workers()), 10)
            return (
                f"| {'guarded, with thread' if guarded else 'plain, no thread'} | {'lazy-apps' if lazy else 'prefork'} | "
                + _load(server, nginx, reloads)
            )


def _load(server: Server, nginx: Nginx, reloads: int) -> str:
    command = [
        find_tool("wrk"),
        "-t1",
        f"-c{CLIENTS}",
        "-d1200s",
        "--timeout",
        "20s",
        f"http://127.0.0.1:{nginx.port}/",
    ]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        times: List[float] = [reload(server) for _ in range(SETTLE)]
        before = master(server.pid)
        times += [reload(server) for _ in range(reloads - SETTLE)]
        after = master(server.pid)
    finally:
        wrk.send_signal(signal.SIGINT)
        text = wrk.communicate(timeout=60)[0]
    total = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    failed = sum(int(n) for n in re.findall(r"(?:read|write|connect|timeout|responses:) (\d+)", text))
    log = server.log()
    times.sort()
    return (
        f"{reloads} | {times[len(times) // 2]:.1f} / {times[-1]:.1f} | {total} | {failed} | {log.count('NO MERCY')} | "
        f"{before.descriptors} → {after.descriptors} | {before.threads} → {after.threads} | "
        f"{before.resident_kib // 1024} → {after.resident_kib // 1024} |"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=200)
    reloads = max(parser.parse_args().reloads, SETTLE + 1)
    print("| run | mode | reloads | median / longest s | requests | failed | NO MERCY | master: fds | threads | MiB |")
    print("|---" * 10 + "|")
    for lazy in (False, True):
        for guarded in (False, True):
            print(run(guarded=guarded, lazy=lazy, reloads=reloads), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
