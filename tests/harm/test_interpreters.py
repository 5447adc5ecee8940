"""Several interpreters in one worker, and threads that install: what Python keeps for the first of
each is left out, in silence.
"""

from __future__ import annotations

import urllib.request

import pytest

from lab.processes import Server, wait_until
from resilient_wsgi.overload.seen import Seen
from resilient_wsgi.shm.snapshot import Snapshot

pytestmark = pytest.mark.servers

APP = """
import threading
import resilient_wsgi
{install}
def answer(environ, start_response):
    start_response("200 OK", [])
    return [environ["SCRIPT_NAME"].encode()]
application = resilient_wsgi.wrap(answer)
"""
HOOKS = {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}
IN_A_THREAD = "installing = threading.Thread(target=resilient_wsgi.install); installing.start(); installing.join()"


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return answer.read()


@pytest.mark.parametrize("lazy", [True, False])
def test_of_several_interpreters_only_the_first_is_watched_and_nothing_fails_in_the_others(
    lazy, tmp_path
):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(APP.format(install="resilient_wsgi.install()"))
    mounts = ["/a=one:application", "/b=two:application"]
    base = {
        "master": True,
        "die-on-term": True,
        "threads": 2,
        "lazy-apps": lazy,
        "pythonpath": str(tmp_path),
    }
    options = {name: value for name, value in base.items() if value is not False}
    with Server({**options, **HOOKS, "manage-script-name": True, "mount": mounts}) as server:
        assert [get(server, path) for path in ("/a/", "/b/")] == [b"/a", b"/b"]
        server.wait_for_log("readiness enforce.*; requests: ")
        server.wait_for_log(
            "readiness off .only the app that is mounted first is watched.*; requests: "
        )
        server.stop()
        assert "error inside resilient_wsgi" not in server.log()


def test_requests_of_all_interpreters_count_as_picked_up(tmp_path):
    """Else waits would seem to be what they are not."""
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.py").write_text(APP.format(install="resilient_wsgi.install()"))
    options = {
        "master": True,
        "threads": 2,
        "pythonpath": str(tmp_path),
        "manage-script-name": True,
        "mount": ["/a=one:application", "/b=two:application", "/c=three:application"],
    }
    with Server({**options, **HOOKS}) as server:
        for path in "aabacbacccaab" * 4:
            assert get(server, f"/{path}/") == f"/{path}".encode()
        with Snapshot.of_process(server.pid) as snapshot:
            # the first request of each finds out that its worker serves
            assert 52 - 3 <= Seen.of(snapshot, 0, 0.0).picked_up <= 52


@pytest.mark.parametrize("threads", [1, 2])
def test_an_install_in_a_thread_of_a_worker_that_loads_its_app_fails_in_nothing(threads, tmp_path):
    (tmp_path / "one.py").write_text(APP.format(install=IN_A_THREAD))
    options = {
        "master": True,
        "die-on-term": True,
        "threads": threads,
        "enable-threads": True,
        "lazy-apps": True,
    }
    with Server({**options, "module": "one", "pythonpath": str(tmp_path)}) as server:
        assert get(server, "/") == b""
        assert wait_until(lambda: "; requests: " in server.log(), 10)
        server.stop()
        assert "error inside resilient_wsgi" not in server.log()
