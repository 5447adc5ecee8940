"""Threads on the way in, on real servers: after the fork, in one worker, in a mule, under gunicorn."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
import urllib.request

import pytest

from bench.threads.exits import gone
from lab.processes import Gunicorn, Server, wait_until

pytestmark = pytest.mark.servers

APP = """
    import os, threading, time
    from concurrent.futures import ThreadPoolExecutor
    from resilient_wsgi import threads

    def note(word):
        os.write(2, f"{word} in {os.getpid()}\\n".encode())

    def application(environ, start_response):
        start_response("200 OK", [])
        return [answer(environ).encode()]

    def answer(environ):
        return "ok"
"""


@pytest.fixture
def app(tmp_path):
    def write(code):
        (tmp_path / "app.py").write_text(textwrap.dedent(APP) + textwrap.dedent(code))
        return {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}", "PYTHONUNBUFFERED": "1"}

    return write


def uwsgi(env, **options):
    ini = {
        "master": True, "processes": 2, "enable-threads": True, "die-on-term": True,
        "worker-reload-mercy": 60,
        "module": "app", "shared-import": "resilient_wsgi.uwsgi", **options,
    }  # fmt: skip
    return Server(ini, env=env)


def get(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=15) as answer:
        return answer.read().decode()


def noted(server, word, count):
    """Return the pids of those who noted a word, when there are so many."""
    return [int(match[1]) for match in server.wait_for_log(rf"^{word} in (\d+)$", count=count)]


@pytest.mark.parametrize("lazy", [{}, {"lazy-apps": True}], ids=["prefork", "lazy-apps"])
def test_what_is_registered_at_import_runs_once_in_each_worker_and_is_told_to_stop(app, lazy):
    env = app("""
        def work():
            note("began")
            threads.stop_event.wait()
            note("was told")
        threads.spawn(work)
        threads.every(0.05)(lambda: None)
    """)
    with uwsgi(env, **lazy) as server:
        workers = server.workers()
        assert sorted(noted(server, "began", 2)) == workers
        # not only has uWSGI's handlers: what is done when a worker becomes ready is over
        server.wait_for_log(r"rpc result from .resilient_wsgi_ready.", count=2)
        server.stop(signal.SIGTERM, when_heeded=True)
        assert sorted(noted(server, "was told", 2)) == workers
        assert "did not stop" not in server.log()


HOOKS = pytest.mark.parametrize(
    "hooks", [{}, {"py-call-uwsgi-fork-hooks": True}], ids=["", "fork-hooks"]
)


@HOOKS
def test_an_executor_used_before_the_fork_works_in_the_workers(app, hooks):
    env = app("""
        pool = ThreadPoolExecutor(1)
        pool.submit(int).result()
        def answer(environ):
            return str(pool.submit(os.getpid).result(timeout=5))
    """)
    with uwsgi(env, **hooks) as server:
        assert int(get(server)) in server.workers()
        assert "was used before the fork" not in server.log()  # told at the level INFO


@HOOKS
def test_a_thread_that_matches_restart_runs_in_each_worker(app, hooks):
    env = app("""
        def refresh():
            note("refresh")
            time.sleep(60)
        threading.Thread(target=refresh, name="refresh-prices").start()
    """)
    with uwsgi({**env, "RESILIENT_WSGI_THREADS_RESTART": "refresh-*"}, **hooks) as server:
        pids = noted(server, "refresh", 3)
        assert sorted(pids) == sorted([server.pid, *server.workers()])


def test_one_worker_does_it_and_another_takes_over_when_that_one_is_killed(app):
    env = app("""
        @threads.every(0.05, where="one", name="tick")
        def tick():
            note("tick")
    """)
    with uwsgi(env, **{"lazy-apps": True}) as server:
        pids = set(noted(server, "tick", 5))
        assert len(pids) == 1
        (holder,) = pids
        os.kill(holder, signal.SIGKILL)
        assert wait_until(lambda: gone(holder) and len(server.workers()) == 2, 10)
        server.wait_for_log(rf"^tick in (?!{holder})\d+$", count=3)


def test_work_for_mules_runs_in_the_mule_alone(app):
    env = app("""
        threads.spawn(lambda: (note("in the mule"), threads.stop_event.wait()), where="mules")
    """)
    with uwsgi(env, mule=True) as server:
        (pid,) = noted(server, "in the mule", 1)
        get(server)
        log = server.log()
    assert f"spawned uWSGI mule 1 (pid: {pid})" in log
    assert log.count("in the mule in") == 1


def test_work_for_the_spooler_runs_in_it_alone(app, tmp_path):
    env = app("""
        threads.spawn(lambda: (note("in the spooler"), threads.stop_event.wait()), where="spoolers")
    """)
    (tmp_path / "spool").mkdir()
    with uwsgi(env, spooler=str(tmp_path / "spool"), mule=True) as server:
        (pid,) = noted(server, "in the spooler", 1)
        get(server)
        log = server.log()
    assert re.search(rf"spawned the uWSGI spooler on dir .* with pid {pid}$", log, re.MULTILINE)
    assert log.count("in the spooler in") == 1


def test_work_for_a_farm_or_a_numbered_mule_runs_there_alone_and_what_is_not_there_is_an_error(app):
    env = app("""
        def begin(where):
            try:
                threads.spawn(lambda: (note(f"for {where}"), threads.stop_event.wait()), where=where)
            except ValueError as error:
                note(f"{error}")
        for where in ("farm:reports", "mule:1", "farm:report", "mule:4", "worker:3"):
            begin(where)
        time.sleep(0.1)
    """)
    with uwsgi(env, mules=3, farm=["mails:1", "reports:2,3"]) as server:
        mules = {
            m[1]: int(m[2])
            for m in server.wait_for_log(r"spawned uWSGI mule (\d+) \(pid: (\d+)\)", count=3)
        }
        assert sorted(noted(server, "for farm:reports", 2)) == [mules["2"], mules["3"]]
        assert noted(server, "for mule:1", 1) == [mules["1"]]
        log = server.log()
    for missing in ("farm report,", "mule 4,", "worker 3,"):
        assert log.count(f"this instance has no {missing} so it would run nowhere") == 1


def test_a_process_that_uwsgi_starts_beside_itself_runs_what_it_registers(app, tmp_path):
    env = app("")
    (tmp_path / "daemon.py").write_text(
        "from app import *\nthreads.spawn(note, 'in the daemon', where='mules').join()"
    )
    with uwsgi(env, **{"attach-daemon": f"{sys.executable} {tmp_path / 'daemon.py'}"}) as server:
        assert noted(server, "in the daemon", 1)[0] != server.pid


MULE = """
    import app
    app.threads.spawn(lambda: (app.note("began"), app.threads.stop_event.wait(), app.note("was told")), where="mules")
    {wait}
"""


@pytest.mark.parametrize(
    ("options", "wait"),
    [
        ({"lazy-apps": True, "mule": True, "shared-import": ["resilient_wsgi.uwsgi", "mule"]}, ""),
        (
            {"lazy-apps": True, "mule": "mule.py", "shared-import": []},
            "while True: app.time.sleep(1)",
        ),
        ({"mule": "mule.py"}, "app.threading.Event().wait()"),
    ],
    ids=["lazy-apps, shared-import", "lazy-apps, its own script", "prefork, its own script"],
)
def test_threads_of_mules_are_told_to_stop_at_reload_and_at_the_end(app, tmp_path, options, wait):
    env = app("")
    (tmp_path / "mule.py").write_text(textwrap.dedent(MULE.format(wait=wait)))
    options = {
        name: str(tmp_path / "mule.py") if value == "mule.py" else value
        for name, value in options.items()
    }
    # one: a stop while another one still loads may be lost
    with uwsgi(env, processes=1, **options) as server:
        (first,) = noted(server, "began", 1)
        get(server)
        server.signal(signal.SIGHUP)
        assert noted(server, "was told", 1) == [first]
        _, second = noted(server, "began", 2)
        get(server)
        server.stop(signal.SIGTERM)
        assert f"was told in {second}" in server.log()


@pytest.mark.parametrize("workers_only", [False, True], ids=["SIGHUP", "FIFO w"])
def test_a_worker_that_is_told_to_reload_while_its_app_loads_does_not_miss_it(app, workers_only):
    env = app("""
        import sys
        note("loads")
        time.sleep(30 if not os.path.exists("second") else 0)
    """)
    with Server(
        {
            "master": True, "lazy-apps": True, "module": "app", "worker-reload-mercy": 60,
            "die-on-term": True,
            "shared-import": "resilient_wsgi.uwsgi", "master-fifo": "fifo",
        },
        env=env, ready="loads in",
    ) as server:  # fmt: skip
        (loading,) = noted(server, "loads", 1)
        (server.directory / "second").touch()
        if workers_only:
            (server.directory / "fifo").write_text("w")
        else:
            server.signal(signal.SIGHUP)
        assert wait_until(lambda: gone(loading), 10)
        assert get(server) == "ok"
        assert "has no app" not in server.log()  # a load that was told to end is none that failed


@pytest.mark.parametrize("kind", ["sync", "gthread"])
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn_workers_run_what_is_registered_tell_it_to_stop_and_end(app, kind, preload):
    env = app("""
        import resilient_wsgi.threads
        resilient_wsgi.threads.install()
        def work():
            note("began")
            threads.stop_event.wait()
            note("was told")
        threads.spawn(work, on_stop=lambda: time.sleep(60))
        begun = []
        def answer(environ):
            if not begun:
                begun.append(threading.Thread(target=time.sleep, args=(60,), name="stubborn"))
                begun[0].start()
            return "ok"
    """)
    arguments = [
        "--workers=1",
        f"--worker-class={kind}",
        "--threads=2",
        "--graceful-timeout=4",
        "--timeout=5",
        *preload,
    ]
    with Gunicorn("app:application", arguments, env=env) as server:
        (worker,) = noted(server, "began", 1)
        assert worker in server.workers()
        assert get(server) == "ok"
        os.kill(worker, signal.SIGTERM)
        assert wait_until(
            lambda: gone(worker), 20
        )  # the thread sleeps for 60 s; as a request's it has what the server grants
        noted(server, "was told", 1)
        server.wait_for_log("thread 'stubborn' did not stop")
