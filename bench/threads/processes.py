"""How long a Celery worker and Django's runserver take to end with a thread that has no end,
without and with the library.

python -m bench.threads.processes                 about 5 minutes
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

from bench.report import machine
from bench.threads.exits import gone
from lab.measuring import procfs
from lab.processes import Program, free_port, wait_until

ROUNDS = 3
NO_THREAD, WITHOUT, WITH = "no thread", "without", "with"
PATIENCE = 8.0  # a process that is still there after this does not end by itself
Case = Callable[[Path, str], Optional[float]]
COMMON = """
import atexit, os, threading, time

def note(word):
    os.write(2, f"{word} in {os.getpid()}\\n".encode())

def hang():
    time.sleep(60)

def begin():
    atexit.register(note, "atexit")
    if os.environ["KIND"] == "with":
        from resilient_wsgi import threads

        def consume():
            note("the thread began")
            threads.stop_event.wait()
            note("the thread was told")

        threads.spawn(consume)
        threads.spawn(note, "never", where="worker:2")
    if os.environ["KIND"] != "no thread":
        threading.Thread(target=hang, name="stubborn").start()
"""
CELERY = """
import os, time
from celery import Celery, signals
from common import begin, note

HERE = os.path.dirname(__file__)
app = Celery("app", broker="filesystem://")
app.conf.update(
    broker_transport_options={"data_folder_in": HERE, "data_folder_out": HERE, "control_folder": HERE},
    task_ignore_result=True,
)

@app.task
def work():
    note("the task began")
    time.sleep(0.5)
    note("the task is done")

signals.worker_ready.connect(lambda **_: work.delay(), weak=False)
if os.environ["KIND"] == "with":
    import resilient_wsgi.threads
    resilient_wsgi.threads.install()
begin()
"""
QUIET = (
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
    "--loglevel=WARNING",
    "--concurrency=1",
)
DJANGO = {
    "manage.py": """
        import os, sys
        os.environ["DJANGO_SETTINGS_MODULE"] = "conf"
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
    """,
    "conf.py": """
        import os
        SECRET_KEY, DEBUG, ROOT_URLCONF = "x", True, "urls"
        PROTECTION = ["resilient_wsgi.django"] if os.environ["KIND"] == "with" else []
        INSTALLED_APPS = [*PROTECTION, "background"]
    """,
    "urls.py": "urlpatterns = []",
    "background/__init__.py": "",
    "background/apps.py": """
        from django.apps import AppConfig
        from common import begin

        class Background(AppConfig):
            name = "background"

            def ready(self):
                begin()
    """,
}


def celery(folder: Path, pool: str, *, kind: str = WITH) -> Program:
    """Return a worker that gives itself a task when it is ready."""
    _write(folder, {"app.py": CELERY})
    command = ["celery", "-A", "app", "worker", f"--pool={pool}", *QUIET]
    return Program(command, ready=r"^the task began in", env=_environment(folder, kind), cwd=folder)


def runserver(folder: Path, *arguments: str, kind: str = WITH) -> Program:
    """Return a development server without a view."""
    _write(folder, DJANGO)
    command = ["python", "-u", "manage.py", "runserver", f"127.0.0.1:{free_port()}", *arguments]
    return Program(
        command, ready="Quit the server with", env=_environment(folder, kind), cwd=folder
    )


def _write(folder: Path, files: Dict[str, str]) -> None:
    for name, text in {"common.py": COMMON, **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))


def _environment(folder: Path, kind: str) -> Dict[str, Optional[str]]:
    return {
        "PYTHONPATH": f"{folder}:{os.getcwd()}",
        "PYTHONWARNINGS": "ignore",
        "KIND": kind,
    }


def change(folder: Path, pid: int) -> bool:
    """Touch a file of the project; return whether the process that served is gone.

    To be called again and again.
    """
    (folder / "urls.py").touch()
    return gone(pid)


def _celery(pool: str, number: int) -> Case:
    def run(folder: Path, kind: str) -> Optional[float]:
        with celery(folder, pool, kind=kind) as program:
            program.signal(number)
            program.wait_for_log("the task is done")
            return _seconds(lambda: not program.alive())

    return run


def _interrupt(*arguments: str) -> Case:
    def run(folder: Path, kind: str) -> Optional[float]:
        with runserver(folder, *arguments, kind=kind) as program:
            everybody = [program.pid, *procfs.children(program.pid)]
            program.signal_group(signal.SIGINT)
            return _seconds(lambda: not program.alive() and all(gone(pid) for pid in everybody[1:]))

    return run


def _reload(folder: Path, kind: str) -> Optional[float]:
    with runserver(folder, kind=kind) as program:
        (child,) = procfs.children(program.pid)
        wait_until(lambda: change(folder, child) or "changed, reloading" in program.log(), 10)
        return _seconds(lambda: gone(child))


def _seconds(ended: Callable[[], bool]) -> Optional[float]:
    begin = time.monotonic()
    return time.monotonic() - begin if wait_until(ended, PATIENCE) else None


CASES: Dict[str, Case] = {
    "Celery, prefork, SIGTERM": _celery("prefork", signal.SIGTERM),
    "Celery, prefork, SIGINT": _celery("prefork", signal.SIGINT),
    "Celery, solo, SIGTERM": _celery("solo", signal.SIGTERM),
    "Celery, threads, SIGTERM": _celery("threads", signal.SIGTERM),
    "runserver, Ctrl-C": _interrupt(),
    "runserver, a file changes": _reload,
    "runserver --noreload, Ctrl-C": _interrupt("--noreload"),
}


def measure(case: Case, kind: str) -> List[Optional[float]]:
    """Run a case, some times unless it does not end anyway."""
    found = []
    for _ in range(1 if kind == WITHOUT else ROUNDS):
        with tempfile.TemporaryDirectory(prefix="processes-") as name:
            found.append(case(Path(name), kind))
    return found


def _text(seconds: List[Optional[float]]) -> str:
    ended = [each for each in seconds if each is not None]
    if len(ended) < len(seconds):
        return f"> {PATIENCE:.0f}"
    return f"{statistics.median(ended):.1f} ({min(ended):.1f} to {max(ended):.1f})"


def main() -> int:
    """Print the table; the code is 1 if a protected process did not end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are ended then, too
    print(f"{machine('celery', 'django')}; seconds until gone, median and range of {ROUNDS}\n")
    print("For Celery they count from the end of its task.\n")
    print("| process | without, no such thread | without | with |\n|---|---|---|---|", flush=True)
    wrong = 0
    for name, case in CASES.items():
        base, unprotected, protected = (measure(case, kind) for kind in (NO_THREAD, WITHOUT, WITH))
        wrong += None in protected
        print(f"| {name} | {_text(base)} | {_text(unprotected)} | {_text(protected)} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
