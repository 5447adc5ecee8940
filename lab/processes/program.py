"""Any program that is no server of ours: a Celery worker, `manage.py runserver`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, List, Mapping, Sequence

from .base import Process, find_tool

if TYPE_CHECKING:
    from pathlib import Path


class Program(Process):
    """A program in a session of its own.

    :param command: its name, looked for next to this Python first, and its arguments.
    :param ready: a regular expression that its log has when it can be used.
    """

    name = "program"

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: str,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        # what it prints must be in its log at once, also of children that do not inherit Python's
        # option -u (runserver's)
        super().__init__(
            env={"PYTHONUNBUFFERED": "1", **(env or {})}, cwd=cwd, start_timeout=start_timeout
        )
        self._command = command
        self._ready = ready

    def command(self) -> List[str]:
        """Return the command line."""
        return [find_tool(self._command[0]), *self._command[1:]]

    def is_ready(self) -> bool:
        """Say whether its log has what was asked for."""
        return bool(re.search(self._ready, self.log(), re.MULTILINE))

    def signal_group(self, number: int) -> None:
        """Send a signal to its whole group, as the terminal does for Ctrl-C."""
        os.killpg(self.pid, number)
