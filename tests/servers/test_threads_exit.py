"""A real uWSGI with the wsgi.py of the incident: without the library it hangs
until mercy, with it it is gone."""

from __future__ import annotations

import re
import signal
import textwrap
import urllib.request

import pytest

from bench.threads.exits import serves
from lab.processes import Server, wait_until

pytestmark = pytest.mark.servers

MERCY = 3
HANGS = """
    import threading, time

    def refresh_prices():
        while True:
            time.sleep(10)

    threading.Thread(target=refresh_prices, name="refresh-prices").start()
"""
APPLICATION = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]
"""
MODES = pytest.mark.parametrize("lazy", [False, True], ids=["prefork", "lazy-apps"])


@pytest.fixture
def instance(tmp_path):
    def make(code, *, protected=True, env=None, **options):
        (tmp_path / "wsgi.py").write_text(textwrap.dedent(code) + textwrap.dedent(APPLICATION))
        ini = {
            "master": True, "processes": 2, "enable-threads": True, "die-on-term": True,
            "worker-reload-mercy": MERCY,
            "wsgi-file": str(tmp_path / "wsgi.py"),
            **{name.replace("_", "-"): value for name, value in options.items()},
        }  # fmt: skip
        ini = {name: value for name, value in ini.items() if value is not False}
        if protected:
            ini["shared-import"] = "resilient_wsgi.uwsgi"
        return Server(ini, env={"PYTHONPATH": str(tmp_path), **(env or {})})

    return make


def get(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as answer:
        return answer.read()


def replaced(server, old, patience=15.0):
    """Wait until the workers are others."""
    return wait_until(
        lambda: not set(old) & set(server.workers()) and len(server.workers()) == len(old), patience
    )


def serving(server):
    """Wait until each worker serves, and return them."""
    assert get(server) == b"ok"
    assert wait_until(lambda: all(serves(pid) for pid in server.workers()), 10)
    return server.workers()


@MODES
def test_without_the_library_a_thread_without_an_end_holds_up_the_reload_until_mercy(
    instance, lazy
):
    with instance(HANGS, protected=False, lazy_apps=lazy) as server:
        old = serving(server)
        server.signal(signal.SIGHUP)
        assert replaced(server, old)
        assert "NO MERCY" in server.log()


@MODES
@pytest.mark.parametrize("threads", [1, 4])
def test_with_one_line_in_the_ini_the_same_app_reloads_and_stops_at_once(instance, lazy, threads):
    with instance(HANGS, lazy_apps=lazy, threads=threads, worker_reload_mercy=30) as server:
        old = serving(server)
        server.signal(signal.SIGHUP)
        assert wait_until(lambda: not set(old) & set(server.workers()), 10)
        assert replaced(server, old)
        serving(server)
        # mercy is 30: the exact figure is the benchmark's business
        assert server.stop(signal.SIGTERM) < 10
        log = server.log()
    assert "NO MERCY" not in log
    assert "refresh-prices" in log
    if lazy:
        assert re.search(r'wsgi.py", line \d+, in refresh_prices', log)  # where it stood
        assert re.search(r'wsgi.py", line \d+, in <module>', log)  # where it was started
    else:
        assert "does not run in this process" in log


def test_without_a_master_it_ends_as_well(instance):
    with instance(HANGS, master=False, processes=1) as server:
        assert get(server) == b"ok"
        # SIGTERM would cut the end of the request short, and atexit with it
        server.stop(signal.SIGHUP, patience=15)
        assert "refresh-prices" in server.log()


def test_report_says_what_holds_up_the_exit_and_leaves_it(instance):
    with instance(HANGS, lazy_apps=True, env={"RESILIENT_WSGI_THREADS": "report"}) as server:
        old = serving(server)
        server.signal(signal.SIGHUP)
        assert replaced(server, old)
        log = server.log()
    assert "the exit waits for thread 'refresh-prices' (dry run, nothing was done)" in log
    assert "NO MERCY" in log
