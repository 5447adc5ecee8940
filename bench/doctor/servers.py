"""What rules of the doctor say, on real servers: those that need minutes, or another uWSGI or Python.

`python -m bench.doctor.servers [CODE ...]`. Each cell runs the bad configuration and, beside it, the
good one, and prints what happened. Other versions are installed into temporary environments; what
cannot be had is skipped. tests/servers/test_doctor_errors.py has those that take seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from functools import cache
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from lab.processes import Server
from lab.processes.base import ToolMissing, find_tool, free_port, wait_until

APP = """\
import threading, time
ticks = []
def tick():
    while True:
        ticks.append(1)
        time.sleep(0.05)
def application(environ, start_response):
    if environ["PATH_INFO"] == "/ticks":
        if not ticks:
            threading.Thread(target=tick, daemon=True).start()
        body = str(len(ticks))
    else:
        time.sleep(float(environ["PATH_INFO"].strip("/") or 0))
        body = "ok"
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body.encode()]
"""
TIMERS = "import uwsgi\nfor n in range({}):\n    uwsgi.add_timer(1, 3600)\n"
FAILING = """\
import os
if os.path.exists({flag!r}):
    raise RuntimeError("the database is away")
"""
Options = Dict[str, object]


def answer(port: int, path: str = "/", body: Optional[bytes] = None) -> str:
    """Return the body of an answer, or what went wrong."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, 60) as reply:
            return str(reply.read().decode())
    except OSError as error:
        return type(error).__name__


@contextlib.contextmanager
def server(options: Mapping[str, object], code: str = APP) -> Iterator[Server]:
    """Run uWSGI with an app."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "benched.py").write_text(code)
        base: Options = {"master": True, "module": "benched", "pythonpath": folder}
        with Server({**base, **options}) as running:  # type: ignore[dict-item]
            yield running


@cache
def environment(python: str, package: str) -> str:
    """Return the folder of an environment with a package; raises `ToolMissing`."""
    folder = tempfile.mkdtemp(prefix="doctor-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
        install = [f"{folder}/bin/pip", "install", "-q", package]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"{package} cannot be installed: {error}"
        raise ToolMissing(msg) from error
    return folder


def python_of(version: str) -> str:
    """Return a CPython of this version; raises `ToolMissing`."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(found[-1]) if found else find_tool(f"python{version}")


@contextlib.contextmanager
def other(
    folder: str, binary: str, options: Mapping[str, object], code: str = APP
) -> Iterator[Tuple[subprocess.Popen[bytes], Path, int]]:
    """Run the uWSGI of another environment; yield its process, its log and its port."""
    with tempfile.TemporaryDirectory() as place:
        log, port = Path(place, "log"), free_port()
        Path(place, "benched.py").write_text(code)
        base: Options = {
            "master": "true", "module": "benched", "http-socket": f"127.0.0.1:{port}",
            "die-on-term": "true", "virtualenv": folder,
        }  # fmt: skip
        lines = [f"{name} = {value}" for name, value in {**base, **options}.items()]
        Path(place, "uwsgi.ini").write_text("\n".join(["[uwsgi]", *lines, ""]))
        with log.open("wb") as file:
            process = subprocess.Popen(
                [f"{folder}/bin/{binary}", "--ini", "uwsgi.ini"],
                cwd=place, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: process.poll() is not None or answer(port) == "ok", 15)
            yield process, log, port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def harakiri_disarmed() -> List[str]:
    """U19: a request of 9 s beside fast ones, harakiri = 3."""
    found = []
    for threads in (2, 1):
        with server({"harakiri": 3, "threads": threads, "processes": 3 - threads}) as running:
            stop = threading.Event()

            def traffic(port: int = running.port, stop: threading.Event = stop) -> None:
                while not stop.wait(0.5):
                    answer(port)

            threading.Thread(target=traffic, daemon=True).start()
            begin = time.monotonic()
            said = answer(running.port, "/9")
            stop.set()
            found.append(f"threads = {threads}: {said} after {time.monotonic() - begin:.1f} s")
    return found


def spurious_kills() -> List[str]:
    """U20: uploads and fast requests in threads for 20 s, harakiri = 30."""
    found = []
    for buffering in (1, 0):
        options: Options = {"harakiri": 30, "threads": 4}
        if buffering:
            options["post-buffering"] = buffering
        with server(options) as running:
            end = time.monotonic() + 20
            body = b"x" * 2_000_000

            def send(data: Optional[bytes], port: int = running.port, end: float = end) -> None:
                while time.monotonic() < end:
                    answer(port, "/", data)

            threads = [threading.Thread(target=send, args=(each,)) for each in (body, None) * 3]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            kills = running.log().count("HARAKIRI ON WORKER")
        found.append(f"post-buffering = {buffering}: {kills} workers killed")
    return found


def mercy() -> List[str]:
    """U26: a reload during a request of 8 s, harakiri = 60."""
    found = []
    for seconds in (3, 60):
        with server({"harakiri": 60, "worker-reload-mercy": seconds}) as running:
            said: List[str] = []

            def ask(port: int = running.port, said: List[str] = said) -> None:
                said.append(answer(port, "/8"))

            thread = threading.Thread(target=ask)
            thread.start()
            time.sleep(1)
            running.signal(signal.SIGHUP)
            thread.join()
            found.append(f"worker-reload-mercy = {seconds}: {said[0]}")
    return found


def failed_respawn() -> List[str]:
    """U09: one worker is killed while the app cannot be loaded."""
    found = []
    for need_app in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            flag = os.path.join(folder, "fail")
            options = {"lazy-apps": True, "processes": 2, "need-app": need_app}
            with server(options, FAILING.format(flag=flag) + APP) as running:
                Path(flag).touch()
                os.kill(running.workers()[0], signal.SIGKILL)
                ended = wait_until(lambda r=running: not r.alive(), 10)  # type: ignore[misc]
        found.append(f"need-app = {need_app}: the instance {'ended' if ended else 'stayed'}")
    return found


def timers() -> List[str]:
    """U56: four workers of an app with 20 timers each, under lazy-apps and prefork."""
    found = []
    for lazy in (True, False):
        options = {"lazy-apps": lazy, "processes": 4}
        with server(options, TIMERS.format(20) + APP) as running:
            time.sleep(2)
            failed = running.log().count("unable to load app")
        found.append(f"lazy-apps = {lazy}: {failed} of 4 workers without an app")
    return found


def half_a_fork() -> List[str]:
    """U30: py-call-osafterfork on Python 3.13, for 6 s."""
    folder = environment(python_of("3.13"), "uwsgi==2.0.31")
    found = []
    for option in ("py-call-osafterfork", "py-call-uwsgi-fork-hooks"):
        with other(folder, "uwsgi", {option: "true", "processes": 2}) as (_, log, port):
            time.sleep(6)
            spawned = log.read_bytes().count(b"espawned uWSGI worker")
            found.append(f"{option}: {answer(port)}, {spawned} workers started again")
    return found


def old_version() -> List[str]:
    """U06 and U37: max-requests-delta with strict, and a thread of the app, on 2.0.26."""
    folder = environment(sys.executable, "uwsgi==2.0.26")
    options = {"strict": "true", "max-requests": 500, "max-requests-delta": 50}
    with other(folder, "uwsgi", options) as (process, _, _port):
        found = [f"max-requests-delta with strict: exit code {process.poll()}"]
    for enabled in ("false", "true"):
        with other(folder, "uwsgi", {"enable-threads": enabled}) as (_, _, port):
            first = answer(port, "/ticks")
            time.sleep(2)
            found.append(f"enable-threads = {enabled}: {first}, {answer(port, '/ticks')} ticks")
    return found


def pyuwsgi_reload() -> List[str]:
    """U54: SIGHUP to pyuwsgi in an environment."""
    folder = environment(sys.executable, "pyuwsgi")
    found = []
    for binary in ("", f"{folder}/bin/python"):
        options = {"binary-path": binary} if binary else {}
        with other(folder, "pyuwsgi", options) as (process, _, port):
            before = answer(port)
            os.kill(process.pid, signal.SIGHUP)
            time.sleep(4)
            with_path = "with binary-path" if binary else "without binary-path"
            found.append(f"{with_path}: {before}, after a reload {answer(port)}")
    return found


CELLS: Dict[str, Callable[[], List[str]]] = {
    "U06 U37": old_version,
    "U09": failed_respawn,
    "U19": harakiri_disarmed,
    "U20": spurious_kills,
    "U26": mercy,
    "U30": half_a_fork,
    "U54": pyuwsgi_reload,
    "U56": timers,
}


def main(codes: List[str]) -> None:
    """Run the cells of these codes, all by default, and print a table."""
    print("| rule | what was run | bad, then good |\n| --- | --- | --- |")
    for names, cell in CELLS.items():
        if codes and not set(codes) & set(names.split()):
            continue
        what = (cell.__doc__ or "").partition(": ")[2].rstrip(".\n")
        try:
            happened = "; ".join(cell())
        except ToolMissing as missing:
            happened = f"skipped: {missing}"
        print(f"| {names} | {what} | {happened} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
