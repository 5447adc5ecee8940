"""uWSGI that makes a daemon of itself: its master has init as its parent, in a session of its own."""

from __future__ import annotations

from typing import Mapping

from lab.measuring import procfs

from .uwsgi import Option, Server


class Daemon(Server):
    """A uWSGI instance with `daemonize`; what it says after that goes to `log`, a file or a FIFO."""

    def __init__(
        self,
        options: Mapping[str, Option],
        *,
        log: str,
        env: Mapping[str, str | None] | None = None,
        stderr: int,
    ) -> None:
        super().__init__({**options, "daemonize": log}, env=env, stderr=stderr)
        self._session_id = 0

    def command(self) -> list[str]:
        """Have the daemon's pid written to a file."""
        self.options["pidfile"] = str(self.directory / "pid")
        return super().command()

    @property
    def pid(self) -> int:
        """The pid of the daemon's master; before there is one, of the process that was started."""
        try:
            return int((self.directory / "pid").read_text())
        except (OSError, ValueError):
            return super().pid

    def alive(self) -> bool:
        """Say whether the daemon's master runs."""
        super().alive()  # reaps the process that was started
        found = procfs.stat(self.pid)
        return not self._has_begun() or (found is not None and found.state not in "ZX")

    def _has_begun(self) -> bool:
        return (self.directory / "pid").exists()

    def is_ready(self) -> bool:
        """Say whether the daemon is there and listens."""
        found = procfs.stat(self.pid)
        if found:
            self._session_id = found.session  # kept: its workers may outlive the master
        return self._has_begun() and super().is_ready()

    def _session(self) -> int:
        return self._session_id or self.pid
