"""How an app can fail to load, and uWSGI instances in which it does: for the table of
`bench/readiness/experiments.py` and the tests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Sequence, Set

from lab.measuring import load
from lab.processes import Server, wait_until
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.shm.snapshot import NotAScoreboard, Snapshot

if TYPE_CHECKING:
    from lab.processes.uwsgi import Option
    from resilient_wsgi.shm.layout import WorkerRow

FOLDER = Path(__file__).resolve().parent
APP = "readiness_app"
PROTECTION: Dict[str, Option] = {
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
LOADED_BY_US = "resilient_wsgi.uwsgi:application"
NAMINGS: Dict[str, Dict[str, Option]] = {
    "module": {"module": APP},
    "wsgi-file": {"wsgi-file": str(FOLDER / f"{APP}.py")},
    "mount": {"mount": f"/={APP}:application"},
    "mount of a file": {"mount": f"/={FOLDER / APP}.py"},
    LOADED_BY_US: {"module": LOADED_BY_US},
}
KINDS = (
    "import", "syntax", "configured", "memory", "short", "starved", "exit", "attribute", "callable",
    "hang", "killed", "crash",
)  # fmt: skip
STARTUP_TIMEOUT = 2
# what reading the scoreboard fails with while a server is being started or reloaded
NOT_NOW = (OSError, NotAScoreboard, Unavailable)


class Instance:
    """A uWSGI instance of the app; what is to go wrong next is put in its folder of tokens."""

    def __init__(self, server: Server, tokens: Path) -> None:
        self.server = server
        self._tokens = tokens

    def fail_next(self, kind: str, loads: int) -> None:
        """Have the next `loads` loads fail."""
        for number in range(loads):
            (self._tokens / f"{number}-{kind}").touch()

    def fail_ever(self, kind: str) -> None:
        """Have every load fail until `clear`."""
        (self._tokens / f"ever-{kind}").touch()

    def clear(self) -> None:
        """Have no load fail any more."""
        for token in self._tokens.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a load was quicker
                token.unlink()

    def tokens_left(self) -> int:
        """Return how many of them have not failed yet."""
        return len(list(self._tokens.iterdir()))

    def respawn(self, count: int) -> None:
        """Have some workers end and be restarted: the oldest, which at first are those with the
        lowest numbers.
        """
        for pid in self.server.workers()[:count]:
            os.kill(pid, signal.SIGHUP)

    def serving(self) -> Set[str]:
        """Return the numbers of the workers that answer just now."""
        return {
            answer.worker for answer in load.burst(self.server.port, "/", 24, 10.0) if answer.good
        }

    def rows(self) -> Sequence[WorkerRow]:
        """Return what stands in the rows of the workers."""
        with Snapshot.of_process(self.server.pid) as seen:
            return seen.workers

    def full_strength(self, deadline: float = 20.0) -> bool:
        """Wait until all workers answer."""
        count = int(str(self.server.options["processes"]))
        return wait_until(lambda: len(self.serving()) == count, deadline)

    def events(self, part: str) -> List[str]:
        """Return the lines of the log with this text."""
        return [line for line in self.server.log().splitlines() if part in line]


def options(
    naming: str = "module", *, lazy: bool = True, protected: bool = True, **more: Option
) -> Dict[str, Option]:
    """Return uWSGI's options. An underscore in a name stands for a hyphen."""
    chosen: Dict[str, Option] = {
        "master": True,
        "disable-logging": True,
        "processes": 4,
        "pythonpath": str(FOLDER),
    }
    chosen.update(NAMINGS[naming])
    if lazy:
        chosen["lazy-apps"] = True
    if protected:
        chosen.update(PROTECTION)
    chosen.update({name.replace("_", "-"): value for name, value in more.items()})
    return chosen


@contextlib.contextmanager
def instance(
    chosen: Mapping[str, Option],
    *,
    fail_first: str = "",
    loads: int = 2,
    ever: bool = False,
    always: str = "",
    may_hang: str = "",
    env: Dict[str, str] | None = None,
    ready: str = "^spawned uWSGI worker",
    listen_on: str = "http",
) -> Iterator[Instance]:
    """Start an instance whose first loads fail, or all of them; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="readiness-") as tokens:
        environment: Dict[str, str | None] = {
            name: None for name in os.environ if name.startswith("RESILIENT_WSGI")
        }
        environment.update({"TOKENS": tokens, "ALWAYS": always, "WORK": "0.005", **(env or {})})
        if "hang" in (fail_first, always, may_hang):
            environment.setdefault("RESILIENT_WSGI_READINESS_STARTUP_TIMEOUT", str(STARTUP_TIMEOUT))
        if LOADED_BY_US in chosen.values():
            environment["RESILIENT_WSGI_APPLICATION"] = APP
        server = Server(chosen, env=environment, ready=ready, ready_count=1, listen_on=listen_on)
        made = Instance(server, Path(tokens))
        if fail_first and ever:
            made.fail_ever(fail_first)
        elif fail_first:
            made.fail_next(fail_first, loads)
        with server:
            yield made
