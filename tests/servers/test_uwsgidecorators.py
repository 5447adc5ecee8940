"""uwsgidecorators beside the library: everything of both runs, whichever is imported first, in the
master or with the app.
"""

from __future__ import annotations

import re

import pytest

from lab.processes import Server, wait_until
from tests.servers.test_hooks import APPS, COMMON, MODES, hooks, until_stopped

THEIRS, OURS = f"{APPS}.decorated_app", f"{APPS}.ours"
# what `shared-import` has, and when the app imports the library if it does
ORDERS = {
    "both in the master, ours before": ([OURS, THEIRS], ""),
    "both in the master, ours after": ([THEIRS, OURS], ""),
    "ours in the master, theirs with the app": ([OURS], ""),
    "both with the app, ours before": ([], "before"),
    "both with the app, ours after": ([], "after"),
}
ASKED = {("spool task", "spooler"), ("lock", "worker 1"), ("thread job", "worker 1")}
TIMED = {("timer", "worker 1"), ("cron", "worker 1")}
FORKED = {("postfork", "worker 1"), ("postfork", "spooler")}


def running(mode, imports, order, folder):
    options = {
        **COMMON,
        **mode,
        "processes": 1,
        "threads": 2,
        "spooler": str(folder),
        "spooler-import": f"{APPS}.decorated_task",  # in lazy-apps a spooler loads no app
        "module": THEIRS,
        **({"shared-import": imports} if imports else {}),
    }
    return Server(options, env={"OURS": order})


def expected(mode, imports):
    """Return what of theirs is to run: in lazy-apps, uWSGI has called `post_fork_hook` before the
    app sets it.
    """
    late = bool(mode) and THEIRS not in imports
    return {*ASKED, *TIMED, *(() if late else FORKED)}


def theirs(server):
    """Return what of theirs has run, and in which process."""
    return set(re.findall(r"THEIRS (.*) in (.*)\.\n", server.log()))


def count(server, what):
    return len(re.findall(rf"THEIRS {what} in worker 1\.\n", server.log()))


def until_all_ran(server, mode, imports):
    wanted = expected(mode, imports)
    assert wait_until(lambda: theirs(server) >= wanted, 15), wanted - theirs(server)
    assert theirs(server) == wanted
    assert count(server, "postfork") == (("postfork", "worker 1") in wanted)
    assert count(server, "lock") == count(server, "thread job") == 1


@MODES
@pytest.mark.parametrize("order", ORDERS)
def test_everything_of_both_runs(mode, order, get, tmp_path):
    imports, ours = ORDERS[order]
    with running(mode, imports, ours, tmp_path) as server:
        assert get(server.port) == b"ok"
        until_all_ran(server, mode, imports)
        said = [line for line in until_stopped(server, 1) if "worker=1" in line]
        # in the worker that comes next, too
        assert server.wait_for_log(r"(?s)HOOK stop.*THEIRS timer", 15)
    assert [line.split()[0] for line in said if "import" not in line] == ["start", "ready", "stop"]


@MODES
@pytest.mark.parametrize("imports", [[THEIRS], []], ids=["in the master", "with the app"])
def test_without_the_library_the_same_of_theirs_runs(mode, imports, get, tmp_path):
    with running(mode, imports, "", tmp_path) as server:
        assert get(server.port) == b"ok"
        until_all_ran(server, mode, imports)
        assert hooks(server) == []
