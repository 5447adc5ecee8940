"""What all servers have in common: a session of their own, a folder of their own, a log, readiness,
and an end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from signal import SIG_DFL, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, Signals, signal as handle
from typing import TYPE_CHECKING, Callable, List, Mapping

from lab.measuring import procfs

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

POLL_SECONDS = 0.02
HEED_SECONDS = 30.0
TAIL_LINES = 25


class ProcessError(RuntimeError):
    """A server did not start, ended too early, or did not do in time what was waited for; the text
    ends with its log.
    """


class ToolMissing(Exception):
    """A program that is needed is not installed. The text is "<name> not found"."""


def find_tool(name: str, *folders: str) -> str:
    """Return the path of a program, looked for next to this Python, in the PATH and in the folders
    given.
    """
    path = os.pathsep.join(
        [str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath), *folders]
    )
    found = shutil.which(name, path=path)
    if found is None:
        msg = f"{name} not found"
        raise ToolMissing(msg)
    return found


def _heed_signals() -> None:
    """Undo what a new process inherits: a shell has what it runs in the background ignore these,
    nohup the first of them.
    """
    for number in (SIGHUP, SIGINT, SIGQUIT):
        handle(number, SIG_DFL)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago. Nothing keeps it free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Poll until the condition is true; return whether it was within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


class Process:
    """A program in a session and a temporary folder of its own, as a context manager.

    :param env: added to this process's environment; a value of None takes the variable away. :param
    cwd: where it runs; its temporary folder by default. :param stderr: a descriptor for its
    standard output and error, which stays the caller's to close. By default both go
        to a file, and `log()` returns what is in it; with a descriptor `log()` is always empty.
    :param start_timeout: seconds until it must be ready. :raises ProcessError: on entry, if it
    ended or was not ready in time. Nothing of it is left then. :raises ToolMissing: on entry, if
    the program is not installed.
    """

    name = "process"

    def __init__(
        self,
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        stderr: int | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        self.directory = Path(tempfile.gettempdir())
        self._env = env or {}
        self._cwd = cwd
        self._stderr = stderr
        self._start_timeout = start_timeout
        self._popen: subprocess.Popen[bytes] | None = None
        self._last_log = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} pid={self._popen.pid if self._popen else None} in {self.directory}>"

    # What a kind of server says of itself

    def command(self) -> List[str]:
        """Write what configuration is needed into `directory` and return the command line."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Say whether it can be used now; asked again and again until it is."""
        return True

    # Beginning and end

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix=f"lab-{self.name}-"))
        try:
            self._start()
            self._await_readiness()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        command = self.command()
        environment = {
            key: value for key, value in {**os.environ, **self._env}.items() if value is not None
        }
        with contextlib.ExitStack() as files:
            output = self._stderr
            if output is None:
                output = files.enter_context(self._log_path.open("ab")).fileno()
            self._popen = subprocess.Popen(
                command,
                cwd=self._cwd or self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_heed_signals,  # noqa: PLW1509 - it takes no lock that a thread could hold
            )

    def _await_readiness(self) -> None:
        if not wait_until(lambda: not self.alive() or self.is_ready(), self._start_timeout):
            raise self.error(f"was not ready within {self._start_timeout:g} s")
        if not self.alive():
            raise self.error(f"ended with code {self.returncode} before it was ready")

    def close(self) -> None:
        """End every process of its session at once, whatever state it is in, and remove its folder.

        Idempotent.
        """
        if self._popen is None:
            self._remove_directory()
            return
        # A member may fork between the scan and the kill: scan again until none is left
        wait_until(self._session_is_gone, 10.0)
        self._popen.wait(10.0)
        self._remove_directory()

    def _session_is_gone(self) -> bool:
        members = procfs.session_members(self._session())
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        # reaps the first process, which would otherwise be found as long as it is a zombie
        self.alive()
        return not members

    def _session(self) -> int:
        return self.pid

    def _remove_directory(self) -> None:
        self._last_log = self.log()
        if self.directory != Path(tempfile.gettempdir()):
            shutil.rmtree(self.directory, ignore_errors=True)

    # While it runs

    @property
    def pid(self) -> int:
        """The pid of the process that was started (the master, for servers that have one), also its
        session's id.
        """
        if self._popen is None:
            raise self.error("has not been started")
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def alive(self) -> bool:
        """Say whether the first process still runs."""
        return self._popen is not None and self._popen.poll() is None

    def workers(self) -> List[int]:
        """Return the pids of its living children, oldest first."""
        return procfs.children(self.pid)

    def heeds_signals(self) -> bool:
        """Say whether it handles signals by now: one that comes while it starts may be lost."""
        return procfs.catches(self.pid, SIGTERM)

    def signal(self, number: int, *, when_heeded: bool = False) -> None:
        """Send a signal to the first process only.

        With `when_heeded` only when none is lost any more: for tests of what a signal does, of
        servers that have just started (docs/limits.md).

        :raises ProcessError: if it does not handle signals within 30 seconds.
        """
        if when_heeded and not wait_until(self.heeds_signals, HEED_SECONDS):
            raise self.error(f"did not handle signals within {HEED_SECONDS:g} s")
        os.kill(self.pid, number)

    def stop(
        self, number: int = SIGTERM, patience: float = 30.0, *, when_heeded: bool = False
    ) -> float:
        """Ask it to end by a signal and return how many seconds it took.

        :raises ProcessError: if it still runs after `patience` seconds.
        """
        self.signal(number, when_heeded=when_heeded)
        begin = time.monotonic()
        if not wait_until(lambda: not self.alive(), patience):
            raise self.error(f"still ran {patience:g} s after {Signals(number).name}")
        return time.monotonic() - begin

    # Its log

    @property
    def _log_path(self) -> Path:
        return self.directory / "log"

    def log(self) -> str:
        """Return all that it has written until now; still there after the end."""
        try:
            return self._log_path.read_text(errors="replace")
        except OSError:
            return self._last_log

    def wait_for_log(
        self, pattern: str, deadline: float = 15.0, *, count: int = 1
    ) -> List[re.Match[str]]:
        """Wait until the pattern (a regular expression, ^ and $ match at lines) is found `count`
        times in its log.

        :return: all matches. :raises ProcessError: if that did not come within `deadline` seconds.
        """
        compiled = re.compile(pattern, re.MULTILINE)
        if not wait_until(lambda: len(compiled.findall(self.log())) >= count, deadline):
            raise self.error(f"did not write {pattern!r} {count} time(s) within {deadline:g} s")
        return list(compiled.finditer(self.log()))

    def error(self, what: str) -> ProcessError:
        """Return an exception that says what is wrong and shows the end of the log."""
        tail = "\n".join(self.log().splitlines()[-TAIL_LINES:]) or "(empty)"
        return ProcessError(f"{self.name} {what}; the end of its log:\n{tail}")
