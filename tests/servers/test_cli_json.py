"""What `--json` prints of real instances has the fields that docs/cli.md lists, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.processes import wait_until
from resilient_wsgi.cli.main import verb
from tests.servers.requests_common import HOOKS, body, get, running

pytestmark = pytest.mark.servers


def ask(name, pid, *more):
    """Return the exit code and the object that a verb prints, run as an operator runs it."""
    command = [sys.executable, "-m", "resilient_wsgi", name, str(pid), *more, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.count("\n") == 1, done
    return done.returncode, json.loads(done.stdout)


def paths(value, path=""):
    """Return the fields of an object as docs/cli.md writes them."""
    if isinstance(value, dict) and value:
        return {p for name, each in value.items() for p in paths(each, f"{path}.{name}".strip("."))}
    if isinstance(value, list):
        return {p for each in value for p in paths(each, f"{path}[]")}
    return {path}


def empty(value, path=""):
    """Return the lists without an entry, whose fields cannot be seen."""
    if isinstance(value, dict):
        return {p for name, each in value.items() for p in empty(each, f"{path}.{name}".strip("."))}
    if isinstance(value, list) and value:
        return {p for each in value for p in empty(each, f"{path}[]")}
    return {f"{path}[]"} if isinstance(value, list) else set()


def check(name, answer, unseen=()):
    fields = set(verb(name).JSON)
    assert paths(answer) <= fields
    missing = fields - paths(answer)
    assert {field for field in missing if not field.startswith(tuple(empty(answer)))} == set()
    assert empty(answer) - {"masters_own[]", "workers[].requests[]", "requests[]"} <= set(unseen)


def test_each_verb_of_a_running_instance():
    options = {**HOOKS, "processes": 2, "mule": True}
    with running(options, {"TIMEOUT": 30}) as server, ThreadPoolExecutor(1) as pool:
        assert wait_until(lambda: ask("ready", server.pid, "--workers=2")[0] == 0, 15)
        assert {body(server, "/pid") for _ in range(50)}  # until each has its socket
        asked = pool.submit(get, server, "/sleep/4")
        assert wait_until(lambda: len(ask("stacks", server.pid)[1]["workers"]) == 2, 10)
        code, answer = ask("stacks", server.workers()[0])
        assert (code, answer["pid"]) == (0, server.pid)
        check("stacks", answer)
        (request,) = (r for each in answer["workers"] for r in each["requests"])
        assert (request["method"], request["path"]) == ("GET", "/sleep/4")
        # looked up by the watchdog once it has run for a while
        assert request["waits_for"] in ("", "the end of a sleep")
        assert 0 <= request["seconds"] < 5
        assert [each["answered"] for each in answer["workers"]] == ["python"] * 2
        assert len(answer["others"]) == 1
        assert asked.result().good
        code, answer = ask("limit", "api.example:80", str(server.pid))
        assert (code, answer["limited"]) == (0, True)
        check("limit", answer)
        for name in ("status", "ready"):
            code, answer = ask(name, server.pid)
            assert (code, answer["pid"]) == (0, server.pid)
            check(name, answer)
        assert ask("report", server.pid) == (1, [])
        code, answer = ask("unstick", server.pid)
        assert (code, answer["stuck"], answer["logs"]) == (0, False, [])
        check("unstick", answer, ["logs[]"])
        code, answer = ask("drain", server.pid)
        assert (code, answer) == (0, {"pid": server.pid, "serving": 0})


def test_the_stacks_of_all_workers_that_hold_the_gil_are_written_at_the_same_time():
    options = {**HOOKS, "processes": 4}
    with running(options, {"TIMEOUT": 30}) as server, ThreadPoolExecutor(4) as pool:
        assert wait_until(lambda: ask("ready", server.pid, "--workers=4")[0] == 0, 15)
        for _ in range(4):
            pool.submit(get, server, "/hold-the-gil", 15.0)
        assert wait_until(
            lambda: (
                sum(
                    len(each["requests"])
                    for each in ask("stacks", server.pid, "--no-signal")[1]["workers"]
                )
                == 4
            ),
            15,
        )
        code, answer = ask("stacks", server.pid, "--no-signal")
        assert code == 1
        assert {each["refusal"] for each in answer["workers"]} == {"--no-signal"}
        code, answer = ask("stacks", server.pid)
        assert code == 0
        assert {each["answered"] for each in answer["workers"]} == {"signal"}
        assert all("hold_the_gil" in "\n".join(each["stacks"]) for each in answer["workers"])


def test_unstick_names_a_full_log(tmp_path):
    reading, writing = os.pipe()
    code = "import os\nwhile True: os.write(2, b'x' * 4096)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=writing)
    try:
        assert wait_until(lambda: ask("unstick", process.pid)[1]["stuck"], 10)
        code, answer = ask("unstick", process.pid, "--drain", str(tmp_path / "log"))
        check("unstick", answer)
        (log,) = answer["logs"]
        assert log["drained_bytes"] >= 65536
        assert {"pid": process.pid, "tid": process.pid, "fd": 2} in log["writers"]
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)
