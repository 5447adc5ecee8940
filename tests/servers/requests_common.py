"""What the server tests of requests share."""

from __future__ import annotations

import contextlib
import io
import urllib.request
from pathlib import Path

from lab.measuring import load
from lab.processes import Server
from resilient_wsgi import cli
from resilient_wsgi.shm import instance

ROOT = Path(__file__).parents[2]
APP = "tests.servers.apps.request_app"
COMMON = {
    "module": APP,
    "pythonpath": str(ROOT),
    "master": True,
    "need-app": True,
    "listen": 100,
    "disable-logging": True,
    "enable-threads": True,
}
HOOKS = {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}


@contextlib.contextmanager
def running(options=(), environment=(), env_more=(), **more):
    """A uWSGI instance of which nothing is left in shared memory either."""
    env = variables(environment)
    env.update(env_more)
    try:
        with Server({**COMMON, **dict(options)}, env=env, **more) as server:
            yield server
    finally:
        instance.sweep()


def variables(options):
    """Return the environment of options of REQUEST, or of another section that they name."""
    return {
        f"RESILIENT_WSGI_{name.replace('.', '_') if '.' in name else f'REQUEST_{name}'}": str(value)
        for name, value in dict(options).items()
    }


def get(server, path, patience=20.0):
    return load.get(server.port, path, patience)


def body(server, path, headers=()):
    asked = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=dict(headers))
    with urllib.request.urlopen(asked, timeout=20) as response:
        return response.read().decode()


def stacks(*arguments):
    """What `resilient-wsgi stacks` prints, and its exit code."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(["stacks", *map(str, arguments)])
    return out.getvalue(), code
