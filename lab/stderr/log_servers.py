"""Servers whose log goes to a pipe that is not read: each way in which uWSGI and gunicorn can have
one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple, Union

from lab.measuring import load
from lab.processes import Daemon, Gunicorn, Server, wait_until
from lab.processes.uwsgi import Option
from lab.stderr.log_reader import Reader

ROOT = Path(__file__).resolve().parents[2]
APP = "lab.stderr.stderr_app"
SHIM = [sys.executable, "-m", "resilient_wsgi", "exec", "--"]
NOBODY = "nobody"


class Shimmed(Server):
    """uWSGI behind the exec shim."""

    def command(self) -> List[str]:
        """Return the command line."""
        return [*SHIM, *super().command()]


class ShimmedGunicorn(Gunicorn):
    """gunicorn behind the exec shim."""

    def command(self) -> List[str]:
        """Return the command line."""
        return [*SHIM, *super().command()]


# what others may not pass is covered, for this process and its children alone, by an empty folder
# with what is needed of it
OPENED = """
set -e
closed=$1 kept=$2 mounted=$(mktemp -d); shift 2
mount --bind "$closed" "$mounted"
mount -t tmpfs -o mode=755 none "$closed"
mkdir "$closed/$kept"
mount --bind "$mounted/$kept" "$closed/$kept"
umount "$mounted"; rmdir "$mounted"
exec "$@"
"""


def passable() -> List[str]:
    """Return the command before a command that lets another user run this Python, whose home may be
    closed to others.
    """
    for place in (sys.base_prefix, sys.prefix, str(ROOT)):
        path = Path(place).resolve()
        for closed, kept in zip(path.parents[::-1], [*path.parents[::-1][1:], path]):
            if not closed.stat().st_mode & 0o001:
                return ["unshare", "--mount", "sh", "-c", OPENED, "sh", str(closed), kept.name]
    return []


def why_not_as_nobody() -> str:
    """Return why no server can be run here that changes its user to `nobody`; "" if it can."""
    if os.geteuid():
        return "takes root"
    code = (
        "import os, pwd; os.setuid(pwd.getpwnam('nobody').pw_uid); "
        "os.execv(os.sys.executable, [os.sys.executable, '-c', 'import resilient_wsgi'])"
    )
    try:
        done = subprocess.run(
            [*passable(), sys.executable, "-c", code],
            cwd="/",
            capture_output=True,
            timeout=30,
            check=False,
        )
    except OSError as error:
        return str(error)
    return (
        ""
        if done.returncode == 0
        else f"nobody may not run this Python: {done.stderr.decode().strip()[-200:]}"
    )


class AsNobody(Server):
    """uWSGI that changes its user, where that user can run this Python."""

    def command(self) -> List[str]:
        """Return the command line."""
        return [*passable(), *super().command()]


class ShimmedAsNobody(AsNobody):
    """The same behind the exec shim, which runs as root."""

    def command(self) -> List[str]:
        """Return the command line."""
        before = passable()
        return [*before, *SHIM, *super().command()[len(before) :]]


@dataclass(frozen=True)
class Configuration:
    """How a server is run: its options, by which class with the library and by which without, where
    its log goes.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    kind: Any = Server
    without: Any = Server
    log_option: str = ""  # the option that names a FIFO for its log, "" for standard error
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_gunicorn(self) -> bool:
        """Whether it is gunicorn."""
        return issubclass(self.without, Gunicorn)


LOG_MASTER = {"log-master": True}
THREADED = {"log-master": True, "threaded-logger": True}
THREADS = {"threads": 8}
LAZY = {"lazy-apps": True}
ON = {"RESILIENT_WSGI_STDERR_TAKE_OVER": "true"}
CONFIGURATIONS: Dict[str, Configuration] = {
    "prefork": Configuration(),
    "prefork, 8 threads": Configuration(THREADS),
    "lazy-apps": Configuration(LAZY),
    "lazy-apps, 8 threads": Configuration({**LAZY, **THREADS}),
    "log-master": Configuration(LOG_MASTER),
    "log-master, 8 threads": Configuration({**LOG_MASTER, **THREADS}),
    "threaded-logger": Configuration(THREADED),
    "threaded-logger, 8 threads": Configuration({**THREADED, **THREADS}),
    "uid=": Configuration({"uid": NOBODY}, AsNobody, AsNobody, env=ON),
    "uid=, exec shim": Configuration({"uid": NOBODY}, ShimmedAsNobody, AsNobody),
    "daemonize to a FIFO": Configuration({}, Daemon, Daemon, log_option="daemonize"),
    "logto a FIFO": Configuration({}, log_option="logto"),
    "exec shim": Configuration({}, Shimmed),
    "exec shim, 8 threads": Configuration(THREADS, Shimmed),
    "exec shim, log-master": Configuration(LOG_MASTER, Shimmed),
    "gunicorn": Configuration({}, Gunicorn, Gunicorn),
    "gunicorn, exec shim": Configuration({}, ShimmedGunicorn, Gunicorn),
}


@contextlib.contextmanager
def serving(
    configuration: Configuration,
    manner: str,
    *,
    protected: bool = True,
    log_to: int = -1,
    **options: Option,
) -> Iterator[Tuple[Union[Server, Gunicorn], Reader]]:
    """Serve the app with 2 processes; the log's reader behaves as `manner` says, and the library is
    in the app if `protected`.

    With `log_to`, a descriptor, it logs there instead.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fifo = str(folder / "log") if configuration.log_option else ""
        if fifo:
            folder.chmod(0o755)
            os.mkfifo(fifo)
        reader = Reader(manner, fifo)
        stack.callback(reader.end)
        elsewhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, elsewhere)
        server = _server(
            configuration,
            log_to if log_to >= 0 else elsewhere if fifo else reader.write_end,
            fifo,
            protected,
            options,
        )
        stack.enter_context(server)
        if configuration.is_gunicorn:
            wait_until(lambda: load.get(server.port, "/").good, 30.0)
        reader.begin()
        yield server, reader


def _server(
    configuration: Configuration,
    stderr: int,
    fifo: str,
    protected: bool,
    options: Mapping[str, Option],
) -> Union[Server, Gunicorn]:
    kind = configuration.kind if protected else configuration.without
    if configuration.is_gunicorn:
        arguments = [
            "--workers=2",
            "--access-logfile=-",
            "--graceful-timeout=5",
            f"--timeout={options.get('harakiri', 30)}",
        ]
        environment = {**configuration.env, "PYTHONPATH": str(ROOT)}
        app = f"{APP}:installed" if protected else f"{APP}:application"
        gunicorn: Gunicorn = kind(app, arguments, cwd=ROOT, env=environment, stderr=stderr)
        return gunicorn
    chosen: Dict[str, Option] = {"master": True, "processes": 2, "die-on-term": True}
    chosen["wsgi-file"] = str(ROOT / "lab" / "stderr" / "stderr_app.py")
    chosen.update(
        {
            **configuration.options,
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
    )
    if protected:
        chosen["shared-import"] = "resilient_wsgi.uwsgi"
    if configuration.log_option and not issubclass(kind, Daemon):
        chosen[configuration.log_option] = fifo
    log = {"log": fifo} if issubclass(kind, Daemon) else {}
    server: Server = kind(chosen, env=configuration.env, stderr=stderr, **log)
    return server
