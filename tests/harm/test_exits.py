"""An exit loses no work of requests, ends within the server's mercy, and takes nobody's exit
function away.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
import urllib.request

import pytest

from bench.threads.exits import gone, serves
from lab.processes import Gunicorn, Program, Server, free_port, wait_until

pytestmark = pytest.mark.servers

APP = """
    import atexit, concurrent.futures, multiprocessing, os, threading, time

    def note(word):
        os.write(2, f"{word} in {os.getpid()}\\n".encode())

    def deliver(seconds):
        time.sleep(seconds)
        note("delivered")

    def forever():
        while True:
            time.sleep(0.05)

    pool = concurrent.futures.ThreadPoolExecutor(1)
    def in_processes():
        multiprocessing.set_executable(os.environ["PYTHON"])  # not uwsgi
        processes = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
        for _ in range(3):
            processes.submit(deliver, 0.4)

    BACKGROUND = os.environ.get("BACKGROUND")
    if BACKGROUND:
        threading.Thread(target=forever, name="forever").start()
        pool.submit(int)

    def breed():
        threading.Thread(target=deliver, args=(0.7,)).start()
        time.sleep(0.3)

    def timer():
        later = threading.Timer(1.2, deliver, (0,))
        later.daemon = False
        later.start()

    STARTS = {
        # not daemons, whichever of uWSGI's threads runs the request: all but the first are, and what they start inherits that
        "/thread": lambda: threading.Thread(target=deliver, args=(1.5,), daemon=False).start(),
        "/jobs": lambda: [pool.submit(deliver, 0.4) for _ in range(4)],
        "/processes": in_processes,
        "/timer": timer,
        "/breed": lambda: threading.Thread(target=breed, daemon=False).start(),
    }

    def application(environ, start_response):
        STARTS.get(environ["PATH_INFO"], int)()
        start_response("200 OK", [("Content-Length", "2")])  # the children of a pool keep the connection open
        return [b"ok"]
"""
INSTALL = """
    import resilient_wsgi
    resilient_wsgi.install()
"""
WORK = {"/thread": 1, "/jobs": 4, "/processes": 3, "/timer": 1, "/breed": 1}
LAZY = pytest.mark.parametrize("lazy", [False, True], ids=["prefork", "lazy-apps"])


def get(server, path="/"):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return answer.read()


@pytest.fixture
def uwsgi(tmp_path):
    def make(code=APP, *, env=None, **options):
        (tmp_path / "app.py").write_text(textwrap.dedent(code))
        ini = {
            "master": True, "processes": 1, "enable-threads": True, "worker-reload-mercy": 30,
            "wsgi-file": str(tmp_path / "app.py"), "shared-import": "resilient_wsgi.uwsgi",
            "die-on-term": True,
            **{name.replace("_", "-"): value for name, value in options.items()},
        }  # fmt: skip
        ini = {name: value for name, value in ini.items() if value is not False}
        return Server(
            ini, env={"PYTHONPATH": str(tmp_path), "PYTHON": sys.executable, **(env or {})}
        )

    return make


def serving(server):
    assert get(server) == b"ok"
    assert wait_until(lambda: all(serves(pid) for pid in server.workers()), 10)
    return server.workers()


def replaced(server, old, patience):
    begun = time.monotonic()
    assert wait_until(lambda: all(gone(pid) for pid in old), patience), server.log()
    return time.monotonic() - begun


@LAZY
def test_what_requests_have_started_is_finished_at_a_reload_and_what_runs_for_ever_is_not_waited_for(
    uwsgi, lazy
):
    # one thread: with two, uWSGI itself waits for ever while a child of the pool has a copy of the
    # pipe that ends the other
    with uwsgi(lazy_apps=lazy, env={"BACKGROUND": "1"}) as server:
        old = serving(server)
        for path in WORK:
            get(server, path)
        server.signal(signal.SIGHUP)
        took = replaced(server, old, 12)
        log = server.log()
    assert log.count("delivered in") == sum(WORK.values())
    assert 1.0 < took < 8.0
    assert "NO MERCY" not in log
    assert ("'forever' did not stop" if lazy else "'forever' does not run in this process") in log


@pytest.mark.parametrize("way", ["SIGTERM", "SIGHUP to worker", "max-requests"])
def test_work_is_finished_on_every_way_out(uwsgi, way):
    options = {"max_requests": 2, "min_worker_lifetime": 0} if way == "max-requests" else {}
    with uwsgi(**options) as server:
        (worker,) = serving(server)
        get(server, "/jobs")
        # until then the worker is busy, and a forced stop runs nothing
        server.wait_for_log(r"GET /jobs => ")
        if way != "max-requests":
            os.kill(
                server.pid if way == "SIGTERM" else worker,
                signal.SIGTERM if way == "SIGTERM" else signal.SIGHUP,
            )
        replaced(server, [worker], 12)
        assert server.log().count("delivered in") == 4


def test_an_explicit_grace_is_what_all_threads_get(uwsgi):
    with uwsgi(env={"RESILIENT_WSGI_THREADS_GRACE": "0.3"}) as server:
        old = serving(server)
        get(server, "/thread")
        server.signal(signal.SIGHUP)
        assert replaced(server, old, 5) < 3
        assert "delivered in" not in server.log()


def test_work_that_does_not_end_is_named_before_the_master_kills(uwsgi):
    with uwsgi(APP.replace("1.5", "60"), worker_reload_mercy=4) as server:
        old = serving(server)
        get(server, "/thread")
        server.signal(signal.SIGHUP)
        assert replaced(server, old, 8) < 4
        log = server.log()
    assert "did not stop within" in log
    assert "NO MERCY" not in log


def test_a_thread_started_by_an_import_within_a_request_runs_in_the_background(uwsgi, tmp_path):
    (tmp_path / "metrics.py").write_text(
        "import threading, time\n"
        "def push():\n    while True: time.sleep(0.1)\n"
        "threading.Thread(target=push, name='metrics').start()\n"
    )
    with uwsgi(
        APP.replace(
            '"/thread": lambda:', '"/import": lambda: __import__("metrics"), "/thread": lambda:'
        )
    ) as server:
        old = serving(server)
        get(server, "/import")
        server.signal(signal.SIGHUP)
        assert replaced(server, old, 5) < 4
        assert "'metrics' did not stop" in server.log()


def test_the_fuse_of_a_worker_that_ended_does_not_fire_in_the_place_it_has_left(uwsgi, tmp_path):
    """`cheaper` leaves it empty; the master would speak of harakiri at pid 0 and sleep, again and
    again.
    """
    options = {
        "cheaper": 1,
        "cheaper_initial": 2,
        "cheaper_algo": "manual",
        "master_fifo": str(tmp_path / "fifo"),
    }
    with uwsgi(processes=2, env={"RESILIENT_WSGI_THREADS_EXIT_TIMEOUT": "2"}, **options) as server:
        serving(server)
        (tmp_path / "fifo").write_text("-")
        server.wait_for_log("cheaped")
        cheaped = time.monotonic()
        wait_until(lambda: "HARAKIRI" in server.log(), 7.0)  # it would come after 5 to 6 s
        assert "HARAKIRI" not in server.log()
        assert time.monotonic() - cheaped > 6.5


HOLDS = {
    "sleep": "atexit.register(time.sleep, 600)",
    "child": "multiprocessing.set_executable(os.environ['PYTHON'])\n"
    '    mine = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), '
    'name="patient")\n'
    "    mine.start()",
}  # fmt: skip


@pytest.mark.parametrize("holds", HOLDS)
def test_an_exit_function_that_hangs_is_cut_short_within_the_mercy_and_the_others_run(uwsgi, holds):
    code = (
        f"{APP}\n    atexit.register(note, 'first registered, last to run')\n    {HOLDS[holds]}\n"
    )
    with uwsgi(code, lazy_apps=True, worker_reload_mercy=4) as server:
        old = serving(server)
        server.signal(signal.SIGHUP)
        assert replaced(server, old, 8) < 4
        log = server.log()
        os.killpg(server.pid, signal.SIGKILL)  # the child process is nobody's now
    assert "NO MERCY" not in log
    assert "HARAKIRI" not in log
    assert f"last to run in {old[0]}" in log
    assert "is cut short" in log
    if holds == "child":
        assert "patient (pid" in log


def gunicorn(tmp_path, *arguments, env=None):
    (tmp_path / "app.py").write_text(textwrap.dedent(INSTALL) + textwrap.dedent(APP))
    return Gunicorn(
        "app:application", list(arguments), env={"PYTHONPATH": str(tmp_path), **(env or {})}
    )


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_under_gunicorn_work_is_finished_at_max_requests_and_at_sigterm(tmp_path, kind):
    with gunicorn(
        tmp_path, "--worker-class", kind, "--threads=2", "--max-requests=2", env={"BACKGROUND": "1"}
    ) as server:
        assert wait_until(lambda: bool(server.workers()), 10)
        old = server.workers()
        get(server)
        get(server, "/jobs")  # the second of two
        replaced(server, old, 12)
        assert server.log().count("delivered in") == 4
        assert wait_until(lambda: get(server, "/thread") == b"ok", 10)
        assert server.stop(signal.SIGTERM, patience=12) < 8
        assert server.log().count("delivered in") == 5
        assert "'forever' did not stop" in server.log()


def test_under_gunicorn_work_ends_before_the_arbiter_kills(tmp_path):
    with gunicorn(tmp_path, "--graceful-timeout=3") as server:
        assert wait_until(lambda: answers(server), 10)
        (worker,) = server.workers()
        for _ in range(3):
            get(server, "/jobs")  # 4.8 s in all
        assert server.stop(signal.SIGTERM, patience=12) < 3
        assert f"Worker (pid:{worker}) was sent SIGKILL" not in server.log()
        assert "jobs that requests have put into executors were not finished" in server.log()


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_under_gunicorn_a_reload_gives_work_the_time_until_the_arbiter_misses_the_worker(
    tmp_path, kind
):
    """`graceful_timeout` is for the stop of the instance."""
    arguments = ["--worker-class", kind, "--threads=2", "--graceful-timeout=2", "--timeout=30"]
    with gunicorn(tmp_path, *arguments) as server:
        assert wait_until(lambda: answers(server), 10)
        (worker,) = server.workers()
        get(server, "/jobs")
        get(server, "/jobs")  # 3.2 s in all
        server.signal(signal.SIGHUP)
        replaced(server, [worker], 12)
        assert server.log().count("delivered in") == 8


CUSTOM = """
    import sys
    from gunicorn.app.base import BaseApplication
    {first}
    class Own(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", sys.argv[1])
        def load(self):
            from app import application
            return application
    Own().run()
"""
DETECTED = """
    from resilient_wsgi import servers
    def report():
        note("server " + servers.detect().name)
    inner = application
    def application(environ, start_response):
        report()
        return inner(environ, start_response)
    threading.Thread(target=forever, name="stubborn").start()
"""
STARTS_GUNICORN = {
    "program": ("gunicorn", "-b", "{at}", "app"),
    "module": (sys.executable, "-m", "gunicorn", "-b", "{at}", "app"),
    "custom application": (sys.executable, "later.py", "{at}"),
    "custom application that has imported the app": (sys.executable, "first.py", "{at}"),
}


@pytest.mark.parametrize("how", STARTS_GUNICORN)
def test_gunicorn_is_recognised_however_it_is_started(tmp_path, how):
    (tmp_path / "app.py").write_text(
        textwrap.dedent(INSTALL) + textwrap.dedent(APP) + textwrap.dedent(DETECTED)
    )
    for name, first in (("later", ""), ("first", "import app")):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(CUSTOM.format(first=first)))
    at = f"127.0.0.1:{free_port()}"
    command = [part.format(at=at) for part in STARTS_GUNICORN[how]]
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}", "WEB_CONCURRENCY": "1"}
    with Program(command, ready="Booting worker", env=env, cwd=tmp_path) as server:
        server.port = int(at.rpartition(":")[2])
        assert wait_until(lambda: answers(server), 10)
        ((name, worker),) = [
            match.groups() for match in server.wait_for_log(r"^server (\w+) in (\d+)$")
        ][:1]
        assert name == "gunicorn"
        worker = int(worker)
        # the arbiter of the last one has a thread of its own, and is no server to us
        os.kill(worker, signal.SIGTERM)
        assert wait_until(lambda: gone(worker), 6)


def answers(server):
    try:
        return get(server) == b"ok"
    except OSError:
        return False


def test_a_thread_that_preload_has_left_behind_is_named_and_its_executor_has_new_threads(tmp_path):
    with gunicorn(tmp_path, "--preload", env={"BACKGROUND": "1"}) as server:
        assert wait_until(lambda: answers(server), 10)
        server.wait_for_log("thread 'forever' does not run in this process")
        get(server, "/jobs")
        assert wait_until(lambda: server.log().count("delivered in") == 4, 10)
        assert server.stop(signal.SIGTERM) < 6
