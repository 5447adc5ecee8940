"""What a killed worker was doing is said by the next one: after the kernel's OOM killer too, and
without the hook.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.processes import wait_until
from tests.servers.requests_common import HOOKS, body, get, running, stacks

pytestmark = pytest.mark.servers

LIMIT_BYTES = 120_000_000


@contextlib.contextmanager
def memory_cgroup():
    """A control group below our own that may have `LIMIT_BYTES` of memory, of either version."""
    for parent, limit in _candidates():
        try:
            group = Path(tempfile.mkdtemp(prefix="resilient-wsgi-", dir=parent))
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(str(LIMIT_BYTES))
                yield group
                return
        finally:
            assert wait_until(lambda: not (group / "cgroup.procs").read_text(), 10)  # noqa: B023
            group.rmdir()
    pytest.skip("no control group for memory can be made here")


def _candidates():
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            yield f"/sys/fs/cgroup/memory{path}", "memory.limit_in_bytes"
        elif not controllers:
            yield f"/sys/fs/cgroup{path}", "memory.max"


def test_the_oom_killer_is_told_of():
    with memory_cgroup() as group, running({**HOOKS, "processes": 1}, {"TIMEOUT": 30}) as server:
        pid = int(body(server, "/pid"))
        (group / "cgroup.procs").write_text(str(pid))
        assert not get(server, "/eat-memory").good
        (line,) = server.wait_for_log(r"worker 1 \(pid (\d+)\) was killed in (.*)")
        assert int(line.group(1)) == pid
        assert re.match(r"GET /eat-memory after \d+\.\d", line.group(2))
        assert body(server, "/") == "hello"


@pytest.mark.parametrize("options", [{}, {"lazy-apps": True}, {"lazy-apps": True, **HOOKS}])
def test_it_is_said_before_the_first_request(options):
    with (
        running({"processes": 1, **options}, {"TIMEOUT": 30}) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        pid = int(body(server, "/pid"))
        asked = pool.submit(get, server, "/hang")
        assert wait_until(lambda: "GET /hang" in stacks(pid)[0], 10)
        os.kill(pid, signal.SIGKILL)
        asked.result()
        server.wait_for_log(
            "WSGI app 0 .* ready" if "lazy-apps" in options else "Respawned",
            count=1 + ("lazy-apps" in options),
        )
        assert wait_until(lambda: "was killed in" in server.log(), 10)
        assert body(server, "/") == "hello"
        server.wait_for_log(rf"worker 1 \(pid {pid}\) was killed in GET /hang")
