"""gunicorn halts when one worker fails to boot; loaded by `resilient_wsgi.load`, it does not."""

from __future__ import annotations

import contextlib
import os

import pytest

from bench.readiness_cases import FOLDER
from lab import load
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
    return Gunicorn(f"{module}:application", ["--workers=2", *arguments], env={**environment, **FAST, **env})


def run_to_its_end(server):
    """Return its exit code, whether it ends before it is ready or after."""
    with contextlib.suppress(ProcessError), server:
        wait_until(lambda: not server.alive(), 20)
    return server.returncode


def serving(server):
    return {answer.worker for answer in load.burst(server.port, "/", 10, 5.0) if answer.good}


def test_plain_gunicorn_halts_when_one_worker_fails_to_boot(tmp_path):
    assert run_to_its_end(gunicorn(tmp_path, "readiness_app", fail="import")) == 3


@pytest.mark.parametrize("kind", ["import", "exit", "memory"])
def test_a_worker_that_fails_to_boot_pauses_and_is_started_anew(tmp_path, kind):
    with gunicorn(tmp_path, "readiness_loaded_app", fail=kind) as server:
        server.wait_for_log("has no app .*next try in")
        assert wait_until(lambda: len(serving(server)) == 2, 15), server.error("did not come back")
        assert server.alive()


def test_if_no_worker_ever_loads_gunicorn_halts_as_ever(tmp_path):
    server = gunicorn(tmp_path, "readiness_loaded_app", ALWAYS="import")
    assert run_to_its_end(server) == 3
    assert 1 <= server.log().count("has no app") <= 6


def test_what_preload_app_loads_in_the_arbiter_fails_at_once(tmp_path):
    server = gunicorn(tmp_path, "readiness_loaded_app", "--preload", ALWAYS="import")
    assert run_to_its_end(server) > 0
    assert "has no app" not in server.log()
