"""How long a uWSGI worker takes to end: each way to end it, each kind of thread, without and
with the library.

python -m bench.threads.exits                     the whole table, as Markdown (about 20 minutes)
python -m bench.threads.exits --kind stale --path reload --lazy 0
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

from lab.measuring import procfs
from lab.processes import Server, wait_until

MERCY = 3
FAR = 60  # the mercy of protected runs: only the library can have ended the worker in time
PATIENCE = 6.0  # a worker that is still there after this does not end by itself
GRACE = 1.0  # THREADS.GRACE
SLOW_SECONDS = 0.3

APP = """
import atexit, os, socket, threading, time
HERE = os.environ["EXITS_FOLDER"]
LAZY = os.environ["EXITS_LAZY"] == "1"

def touch(word):
    open(os.path.join(HERE, f"{word}-{os.getpid()}"), "w").close()

atexit.register(touch, "atexit")
request_ended = threading.Event()

def start(target, name="stubborn"):
    threading.Thread(target=target, name=name).start()

%s

import uwsgi
if %r or LAZY:
    begin()
else:
    from uwsgidecorators import postfork
    postfork(begin)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        touch("slow")
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [])
    request_ended.set()
    return [b"ok"]
"""

KINDS: Dict[str, str] = {
    "sleep loop": """
def loop():
    while True:
        time.sleep(10)
def begin():
    start(loop)
""",
    "blocking recv": """
def begin():
    global pair
    pair = socket.socketpair()
    start(lambda: pair[0].recv(1))
""",
    "busy loop": """
def loop():
    while True:
        pass
def begin():
    start(loop)
""",
    "GIL kept 3 s": """
import ctypes
def loop():
    while True:
        request_ended.wait()
        request_ended.clear()
        time.sleep(0.15)
        ctypes.PyDLL(None).sleep(3)
def begin():
    start(loop)
""",
    "cooperative": """
def loop():
    from resilient_wsgi.threads import stop_event
    stop_event.wait()
    touch("told")
def begin():
    start(loop)
""",
    "executor": """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
def begin():
    pool.submit(time.sleep, 60)
""",
    "Timer": """
def begin():
    threading.Timer(60, print).start()
""",
    "APScheduler": """
from apscheduler.schedulers.background import BackgroundScheduler
scheduler = BackgroundScheduler(timezone="UTC")
def begin():
    scheduler.add_job(time.sleep, args=(60,))
    scheduler.start()
""",
    "stale": """
def loop():
    while True:
        time.sleep(10)
def begin():
    start(loop)
""",
}


@dataclass
class Way:
    """A way to end a worker: what it needs in the ini, how it is brought about, and whether
    requests may finish.
    """

    begin: Callable[[Server, int, Path], None]
    options: Dict[str, object] = field(default_factory=dict)
    graceful: bool = True
    slack: float = 0.0  # what the master itself takes until it acts


def _fifo(letter: str) -> Callable[[Server, int, Path], None]:
    def write(server: Server, worker: int, folder: Path) -> None:
        del server, worker
        with (folder / "fifo").open("w") as fifo:
            fifo.write(letter)

    return write


def _to_master(number: int) -> Callable[[Server, int, Path], None]:
    def send(server: Server, worker: int, folder: Path) -> None:
        del worker, folder
        os.kill(server.pid, number)

    return send


def _to_worker(server: Server, worker: int, folder: Path) -> None:
    del server, folder
    os.kill(worker, signal.SIGHUP)


def _nothing(server: Server, worker: int, folder: Path) -> None:
    del server, worker, folder


def _lifetime(server: Server, worker: int, folder: Path) -> None:
    del worker, folder
    server.wait_for_log("lifetime reached")


PATHS: Dict[str, Way] = {
    "reload": Way(_to_master(signal.SIGHUP)),
    "chain reload": Way(_fifo("c"), slack=1.0),
    "SIGTERM": Way(_to_master(signal.SIGTERM), graceful=False),
    "SIGINT": Way(_to_master(signal.SIGINT), graceful=False),
    "FIFO q": Way(_fifo("q")),
    "max-requests": Way(_nothing, {"max-requests": 2, "min-worker-lifetime": 0}),
    "lifetime": Way(_lifetime, {"max-worker-lifetime": 3, "min-worker-lifetime": 1}, slack=0.5),
    "SIGHUP to worker": Way(_to_worker),
    "cheaper": Way(
        _fifo("-"),
        {"processes": 2, "cheaper": 1, "cheaper-initial": 2, "cheaper-algo": "manual"},
        slack=1.0,
    ),
}


@dataclass
class Cell:
    """One worker's end."""

    kind: str
    path: str
    lazy: bool
    threads: int
    protected: bool
    seconds: Optional[float] = None  # from idle until gone; None: not gone within PATIENCE
    wrong: List[str] = field(default_factory=list)
    log: str = ""

    @property
    def limit(self) -> float:
        """Within which it must be gone."""
        return GRACE + 1.0 + PATHS[self.path].slack + (3.0 if self.kind == "GIL kept 3 s" else 0.0)

    def __str__(self) -> str:
        """As it stands in the table."""
        text = f"> {PATIENCE:.0f}" if self.seconds is None else f"{self.seconds:.1f}"
        return text + (" !" if self.protected and self.wrong else "")


def cells(protected: bool) -> Iterator[Cell]:
    """Yield the cells of the table, in its order."""
    for kind, lazy, threads, path in itertools.product(KINDS, (False, True), (1, 4), PATHS):
        if kind != "stale" or not lazy:  # with lazy-apps nothing is started before the fork
            yield Cell(kind, path, lazy, threads, protected)


def run(cell: Cell, *, mercy: Optional[int] = None, patience: float = PATIENCE) -> Cell:
    """Start an instance, end a worker of it, note how long that took and what went wrong."""
    mercy = mercy or (FAR if cell.protected else MERCY)
    with tempfile.TemporaryDirectory(prefix="exits-") as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP % (KINDS[cell.kind], cell.kind == "stale"))
        path = PATHS[cell.path]
        options = {
            "master": True, "processes": 1, "enable-threads": True, "die-on-term": True,
            "worker-reload-mercy": mercy,
            "threads": cell.threads, "master-fifo": str(folder / "fifo"),
            "wsgi-file": str(folder / "app.py"),
            "single-interpreter": True, **path.options,
        }  # fmt: skip
        if cell.lazy:
            options["lazy-apps"] = True
        if cell.protected:
            options["shared-import"] = "resilient_wsgi.uwsgi"
        env = {"EXITS_FOLDER": name, "EXITS_LAZY": str(int(cell.lazy)), "PYTHONPATH": os.getcwd()}
        with Server(options, env=env) as server:  # type: ignore[arg-type]
            _watch(cell, path, server, folder, patience)
            cell.log = server.log()
    return cell


def _watch(cell: Cell, path: Way, server: Server, folder: Path, patience: float) -> None:
    if not wait_until(lambda: all(serves(pid) for pid in server.workers()), 10):
        cell.wrong.append("did not serve")
        return
    get(server, "/")
    # until then the worker is in the request, and a brutal stop skips uwsgi.atexit
    server.wait_for_log(r"GET / => ")
    old = server.workers()
    slow = Slow(server, folder) if path.graceful and cell.path != "lifetime" else None
    path.begin(server, old[0], folder)
    if slow is not None and not slow.answered():
        cell.wrong.append("the request in flight was lost")
    idle = time.monotonic()
    if wait_until(lambda: any(gone(pid) for pid in old), patience):
        cell.seconds = time.monotonic() - idle
    _judge(cell, server, folder, [pid for pid in old if gone(pid)])


def _judge(cell: Cell, server: Server, folder: Path, ended: List[int]) -> None:
    if cell.seconds is None or cell.seconds > cell.limit:
        cell.wrong.append(f"not gone within {cell.limit:g} s")
    log = server.log()
    cell.wrong += [
        word for word in ("NO MERCY", "HARAKIRI", "Segmentation", "Fatal Python") if word in log
    ]
    if not all((folder / f"atexit-{pid}").exists() for pid in ended):
        cell.wrong.append("atexit was skipped")
    if cell.kind == "cooperative" and not all((folder / f"told-{pid}").exists() for pid in ended):
        cell.wrong.append("the thread was not told")


class Slow(threading.Thread):
    """A request that is in flight when the worker is told to end."""

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__()
        self._server = server
        self._answer = b""
        self.start()
        wait_until(lambda: any(folder.glob("slow-*")), 10)

    def run(self) -> None:
        try:
            self._answer = get(self._server, f"/slow?{SLOW_SECONDS}")
        except OSError:
            self._answer = b""

    def answered(self) -> bool:
        """Wait for its end and say whether it was good."""
        self.join()
        return self._answer == b"ok"


def get(server: Server, path: str) -> bytes:
    """Return the body of an answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=15) as answer:
        return bytes(answer.read())


def gone(pid: int) -> bool:
    """Say whether a process has ended, reaped or not."""
    found = procfs.stat(pid)
    return found is None or found.state in "ZX"


def serves(pid: int) -> bool:
    """Say whether a worker has its own signal handlers; before that, uWSGI loses the signal for a
    reload.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(re.search(r"^SigCgt:\s*(\w+)", text, re.MULTILINE)[1], 16)  # type: ignore[index]
    return bool(caught >> (signal.SIGUSR2 - 1) & 1)  # core/uwsgi.c:uwsgi_worker_run


def table(found: List[Cell]) -> str:
    """Return the cells as Markdown: with the library, and in brackets, where there is one, the time
    without it.
    """
    by_key: Dict[object, Dict[bool, Cell]] = {}
    for cell in found:
        by_key.setdefault((cell.kind, cell.lazy, cell.threads, cell.path), {})[cell.protected] = (
            cell
        )
    lines = [f"| thread | mode | threads | {' | '.join(PATHS)} |", "|---" * (3 + len(PATHS)) + "|"]
    rows = dict.fromkeys((cell.kind, cell.lazy, cell.threads) for cell in found)
    for kind, lazy, threads in rows:
        texts = []
        for path in PATHS:
            pair = by_key.get((kind, lazy, threads, path), {})
            protected, unprotected = pair.get(True), pair.get(False)
            texts.append(f"{protected or ''}" + (f" ({unprotected})" if unprotected else ""))
        lines.append(
            f"| {kind} | {'lazy-apps' if lazy else 'prefork'} | {threads} | {' | '.join(texts)} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run what is asked for and print the table; the code is 1 if a protected worker did not end as
    it must.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are ended then, too
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--path", action="append", choices=list(PATHS))
    parser.add_argument("--lazy", type=int, choices=(0, 1))
    parser.add_argument("--threads", type=int, choices=(1, 4))
    parser.add_argument("--only", choices=("without", "with"))
    parser.add_argument("--jobs", type=int, default=3)
    chosen = parser.parse_args()
    wanted = [
        cell
        for protected in (True, False)
        for cell in cells(protected)
        if (chosen.kind is None or cell.kind in chosen.kind)
        and (chosen.path is None or cell.path in chosen.path)
        and (chosen.lazy is None or cell.lazy == bool(chosen.lazy))
        and (chosen.threads is None or cell.threads == chosen.threads)
        and (chosen.only is None or cell.protected == (chosen.only == "with"))
    ]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        found = list(pool.map(_run_and_tell, wanted))
    print(
        f"CPython {sys.version.split()[0]}; seconds from idle until the worker is gone, "
        "without the library in brackets\n"
    )
    print(table(found))
    wrong = [cell for cell in found if cell.protected and cell.wrong]
    for cell in wrong:
        print(
            f"\n! {cell.kind}, {cell.path}, lazy={cell.lazy}, threads={cell.threads}: "
            f"{'; '.join(cell.wrong)}"
        )
    print(f"\n{len(found)} runs, {len(wrong)} protected ones wrong")
    return 1 if wrong else 0


def _run_and_tell(cell: Cell) -> Cell:
    try:
        run(cell)
    except Exception as error:
        cell.wrong.append(f"{type(error).__name__}: {error}"[:300])
    print(
        f"{cell.protected=} {cell.kind}, {cell.path}, {cell.lazy=}, {cell.threads=}: {cell} "
        f"{cell.wrong}",
        file=sys.stderr,
    )
    return cell


if __name__ == "__main__":
    sys.exit(main())
