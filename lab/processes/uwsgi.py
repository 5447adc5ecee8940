"""uWSGI: the options as a mapping, written to a uwsgi.ini in a folder of its own."""

from __future__ import annotations

import re
import socket
import sys
from signal import SIGUSR2
from typing import TYPE_CHECKING, List, Mapping, Sequence, Union

from lab.measuring import procfs

from .base import Process, find_tool, free_port

if TYPE_CHECKING:
    from pathlib import Path

Option = Union[str, int, bool, Sequence[str]]

# where it listens: the ini option that says so, and whether that is a UNIX socket
PROTOCOLS = {
    "http": ("http-socket", False),
    "uwsgi": ("socket", False),
    "unix": ("socket", True),
    "http-unix": ("http-socket", True),
}
LOADED = r"^WSGI app \d+ .* ready in|^\*\*\* no app loaded|^unable to load app"
SPAWNED = r"^spawned uWSGI worker \d+"


class Server(Process):
    """A uWSGI instance.

    :param options: what goes into its uwsgi.ini; a sequence is written as one line for each item,
    True as "true". :param listen_on: "http" (a raw HTTP socket on a free port), "uwsgi" (the uwsgi
    protocol on a free port), "unix" and
        "http-unix" (the same two on a UNIX socket), or "" if the options say it all.
    :param ready: a regular expression that must be in its log `ready_count` times. By default: one
    line for each worker
        that says it was spawned, or under lazy-apps that its app is loaded or failed to; and that
        it can be connected to.
    """

    name = "uwsgi"

    def __init__(
        self,
        options: Mapping[str, Option],
        *,
        listen_on: str = "http",
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stderr: int | None = None,
        ready: str | None = None,
        ready_count: int | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        super().__init__(env=env, cwd=cwd, stderr=stderr, start_timeout=start_timeout)
        self.options = dict(options)
        self.listen_on = listen_on
        lazy = str(self.options.get("lazy-apps", False)).lower() not in ("false", "0")
        self._ready = ready or (LOADED if lazy else SPAWNED)
        self._ready_count = ready_count or int(str(self.options.get("processes", 1)))
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1.

        :raises ProcessError: for an instance that has none.
        """
        if self._port is None:
            raise self.error("has no TCP port")
        return self._port

    @property
    def socket_path(self) -> str:
        """The path of its UNIX socket, whether it has one or not."""
        return str(self.directory / "uwsgi.sock")

    @property
    def address(self) -> str:
        """What goes behind uWSGI's `socket =`: host:port or a path."""
        return self.socket_path if self._port is None else f"127.0.0.1:{self._port}"

    def command(self) -> List[str]:
        """Write uwsgi.ini and return the command line."""
        binary = find_tool("uwsgi")
        ini = self.directory / "uwsgi.ini"
        ini.write_text("[uwsgi]\n" + "".join(f"{line}\n" for line in self._ini_lines()))
        return [binary, "--ini", str(ini)]

    def _ini_lines(self) -> List[str]:
        lines = []
        if sys.prefix != sys.base_prefix and "virtualenv" not in self.options:
            lines.append(f"virtualenv = {sys.prefix}")
        if self.listen_on:
            option, is_unix = PROTOCOLS[self.listen_on]
            self._port = None if is_unix else free_port()
            lines.append(f"{option} = {self.address}")
        for key, value in self.options.items():
            values = [value] if isinstance(value, (str, int)) else value
            lines += [f"{key} = {_ini_value(each)}" for each in values]
        return lines

    def is_ready(self) -> bool:
        """Return whether the log has the expected lines and the socket accepts connections."""
        if (
            self._stderr is None
            and len(re.findall(self._ready, self.log(), re.MULTILINE)) < self._ready_count
        ):
            return False
        return not self.listen_on or self._listens()

    def heeds_signals(self) -> bool:
        """Say whether no signal is lost: the master's are ignored until its loop begins, although
        workers may serve already, and a worker loses the master's SIGINT until it has handlers of
        its own, SIGUSR2's last.
        """
        return super().heeds_signals() and all(
            procfs.catches(pid, SIGUSR2) for pid in self.workers()
        )

    def _listens(self) -> bool:
        family = socket.AF_UNIX if self._port is None else socket.AF_INET
        with socket.socket(family) as probe:
            probe.settimeout(1.0)
            return (
                probe.connect_ex(
                    self.socket_path if self._port is None else ("127.0.0.1", self._port)
                )
                == 0
            )


def _ini_value(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
