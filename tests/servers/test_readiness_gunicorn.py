"""gunicorn halts when one worker fails to boot; loaded by `resilient_wsgi.load`, it does not."""

from __future__ import annotations

import contextlib
import os
import re
import time

import pytest

from bench.readiness.cases import FOLDER
from lab.measuring import load
from lab.processes import Gunicorn, ProcessError, wait_until

pytestmark = pytest.mark.servers

FAST = {"RESILIENT_WSGI_READINESS_FIRST_PAUSE": "0.3"}


def gunicorn(folder, module, *arguments, fail="", loads=1, **env):
    tokens = folder / "tokens"
    tokens.mkdir()
    for number in range(loads if fail else 0):
        (tokens / f"{number}-{fail}").touch()
    environment = {
        "TOKENS": str(tokens),
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, FOLDER.parent))),
        "TMPDIR": str(folder),
    }
    return Gunicorn(
        f"{module}:application", ["--workers=2", *arguments], env={**environment, **FAST, **env}
    )


def run_to_its_end(server):
    """Return its exit code, whether it ends before it is ready or after."""
    with contextlib.suppress(ProcessError), server:
        wait_until(lambda: not server.alive(), 20)
    return server.returncode


def serving(server):
    return {answer.worker for answer in load.burst(server.port, "/", 10, 5.0) if answer.good}


def test_gunicorn_without_the_library_halts_when_one_worker_fails_to_boot(tmp_path):
    assert run_to_its_end(gunicorn(tmp_path, "readiness_app", fail="import")) == 3


@pytest.mark.parametrize("kind", ["import", "exit", "memory"])
def test_after_a_load_that_failed_the_next_worker_pauses_before_its_own(tmp_path, kind):
    with gunicorn(tmp_path, "readiness_loaded_app", fail=kind) as server:
        server.wait_for_log("has no app .*next try in")
        assert wait_until(lambda: len(serving(server)) == 2, 15), server.error("did not come back")
        assert server.alive()


@pytest.mark.parametrize("kind", ["killed", "crash"])
def test_after_a_load_that_was_killed_the_next_worker_pauses_before_its_own(tmp_path, kind):
    with gunicorn(tmp_path, "readiness_loaded_app", fail=kind) as server:
        server.wait_for_log("has no app .*was killed.*next try in")
        assert wait_until(lambda: len(serving(server)) == 2, 15), server.error("did not come back")
        assert server.log().count("has no app") == 1


def test_a_load_that_hangs_is_ended_with_its_stack_and_the_next_worker_pauses(tmp_path):
    with gunicorn(
        tmp_path, "readiness_loaded_app", fail="hang", RESILIENT_WSGI_READINESS_STARTUP_TIMEOUT="1"
    ) as server:
        server.wait_for_log("in go_wrong")
        server.wait_for_log("has no app .*took longer than 1 s and was ended.*next try in")
        assert wait_until(lambda: len(serving(server)) == 2, 15), server.error("did not come back")


def test_gunicorn_without_the_library_waits_for_a_load_that_hangs_whatever_its_timeout(tmp_path):
    with gunicorn(tmp_path, "readiness_app", "--timeout=1", fail="hang") as server:
        assert wait_until(lambda: len(serving(server)) == 1, 10)
        time.sleep(3.5)
        assert "WORKER TIMEOUT" not in server.log()
        assert len(serving(server)) == 1


@pytest.mark.parametrize("kind", ["import", "killed"])
def test_if_no_worker_ever_loads_gunicorn_halts_as_ever(tmp_path, kind):
    server = gunicorn(tmp_path, "readiness_loaded_app", ALWAYS=kind)
    assert run_to_its_end(server) == 3
    tries = {}
    for worker, attempt in re.findall(r"worker (\d) has no app .*, attempt (\d+);", server.log()):
        tries[worker] = int(attempt)
    # it ends with the third failure of the slower one; the other may have come to a fourth by then
    assert len(tries) == 2
    assert min(tries.values()) == 3


def test_what_preload_app_loads_in_the_arbiter_fails_at_once(tmp_path):
    server = gunicorn(tmp_path, "readiness_loaded_app", "--preload", ALWAYS="import")
    assert run_to_its_end(server) == 1
    assert "has no app" not in server.log()


@pytest.mark.parametrize(("kind", "code"), [("hang", None), ("killed", -9)])
def test_what_else_may_happen_in_the_arbiter_is_a_matter_for_the_supervisor(tmp_path, kind, code):
    server = gunicorn(tmp_path, "readiness_loaded_app", "--preload", "--timeout=1", ALWAYS=kind)
    server._start_timeout = 4.0
    with contextlib.suppress(ProcessError), server:
        pass
    assert "Booting worker" not in server.log()
    assert code is None or server.returncode == code
