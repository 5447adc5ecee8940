"""gunicorn, for what is said about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, Mapping, Sequence

from .base import Process, find_tool, free_port

if TYPE_CHECKING:
    from pathlib import Path


class Gunicorn(Process):
    """A gunicorn instance on a free port.

    :param application: "package.module:name". :param arguments: further arguments of its command
    line, such as `["--workers=2", "--timeout=5"]`.
    """

    name = "gunicorn"

    def __init__(
        self,
        application: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stderr: int | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        super().__init__(env=env, cwd=cwd, stderr=stderr, start_timeout=start_timeout)
        self.port = 0
        self._application = application
        self._arguments = list(arguments)

    def command(self) -> List[str]:
        """Return the command line."""
        self.port = free_port()
        return [
            find_tool("gunicorn"),
            f"--bind=127.0.0.1:{self.port}",
            *self._arguments,
            self._application,
        ]

    def is_ready(self) -> bool:
        """Say whether the arbiter listens and has started a worker; with a descriptor for its log,
        whether it has children.
        """
        if self._stderr is not None:
            return bool(self.workers())
        return bool(re.search(r"Booting worker with pid", self.log()))
