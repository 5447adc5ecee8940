"""Who a process is, and that the hooks run once in each worker, on real servers."""

from __future__ import annotations

import re
from pathlib import Path
from signal import SIGHUP, SIGTERM

import pytest

from lab.processes import Gunicorn, Server, wait_until

ROOT = Path(__file__).parents[2]
APPS = "tests.servers.apps"
COMMON = {
    "master": True,
    "processes": 2,
    "harakiri": 9,
    "pythonpath": str(ROOT),
    "die-on-term": True,
    "need-app": True,
}
HOOKS = {"shared-import": f"{APPS}.hooks_master", "hook-accepting": "rpc:resilient_wsgi_ready"}
MODES = pytest.mark.parametrize("mode", [{}, {"lazy-apps": True}], ids=["prefork", "lazy-apps"])


def hooks(server):
    return re.findall(r"HOOK (.*)", server.log())  # another process may have begun the line


def until_stopped(server, workers):
    """Reload, because uWSGI skips its atexit if a stop finds the worker in a request that has just
    been answered.
    """
    server.signal(SIGHUP)
    server.wait_for_log("(?s)" + ".*".join(["HOOK stop"] * workers), 20)
    said = hooks(server)
    stops = [i for i, line in enumerate(said) if line.startswith("stop")]
    return said[: stops[workers - 1] + 1]


def wait_for_both(ask):
    answers = set()
    assert wait_until(lambda: answers.add(ask()) or len(answers) == 2, 20)
    return answers


@MODES
def test_hooks_run_once_in_each_worker_whatever_overwrites_them(mode, get):
    options = {**COMMON, **HOOKS, **mode, "module": f"{APPS}.hooks_app", "threads": 3}
    with Server(options) as server:
        server.wait_for_log(r"(?s)HOOK ready.*HOOK ready", 20)
        # a worker that has not answered yet may not have its signal handlers either
        answers = wait_for_both(lambda: get(server.port))
        assert answers == {b"worker 1 9.0 3 True", b"worker 2 9.0 3 True"}
        said = until_stopped(server, 2)
        server.wait_for_log("HOOK their stop", 20)
    assert said.count("import role=master worker=0 loaded=None") == 1
    for worker in (1, 2):
        mine = [s for s in said if f"worker={worker} " in s]
        assert [s.split()[0] for s in mine] == ["start", "ready", "stop"]
        assert mine[1].endswith("loaded=True")
    # in lazy-apps uWSGI itself comes too late for a hook that the app sets
    assert said.count("theirs") == (0 if mode else 2)


@MODES
def test_without_the_ini_lines_the_first_request_does_what_the_hooks_would(mode, get):
    with Server({**COMMON, **mode, "processes": 1, "module": f"{APPS}.plain_app"}) as server:
        get(server.port)
        get(server.port)
        said = [s for s in until_stopped(server, 1) if "worker" in s]
    assert said == ["start worker", "ready worker", "stop worker"]


def test_mules_spoolers_and_the_master_are_no_workers(tmp_path):
    options = {
        **COMMON,
        **HOOKS,
        "processes": 1,
        "module": f"{APPS}.hooks_app",
        "mule": True,
        "spooler": str(tmp_path),
    }
    with Server(options) as server:
        server.wait_for_log(r"HOOK ready", 20)
        # worker, mule and spooler forked
        server.wait_for_log(r"(?s)HOOK theirs.*HOOK theirs.*HOOK theirs", 20)
        said = hooks(server)
    assert [s for s in said if s.startswith("start")] == ["start role=worker worker=1 loaded=True"]


@pytest.mark.parametrize(
    "arguments", [["--worker-class=sync"], ["--worker-class=gthread", "--threads=2"], ["--preload"]]
)
def test_gunicorn_workers_start_are_ready_and_stop(arguments, get):
    with Gunicorn(
        f"{APPS}.plain_app:application", ["--workers=1", *arguments], env={"PYTHONPATH": str(ROOT)}
    ) as server:
        name, fd, left = get(server.port).split()
        server.stop(SIGTERM)
        said = [s.split()[0] for s in hooks(server)]
    assert (name, left) == (b"gunicorn", b"None")
    assert int(fd) > 2
    assert said.count("ready") == 1
    assert "stop" in said
