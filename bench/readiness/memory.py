"""Memory that runs short while 2 of 8 workers load: by a limit of the process, and by that of a
control group.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Tuple

from bench.readiness.cases import Instance, instance, options
from lab.measuring import load
from lab.processes import wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

Row = Tuple[object, ...]
WORKERS, SHORT_SECONDS = 8, 8.0
ONLY = {"ONLY": "12"}
# in the group: what a load takes and gives back, what is left of the limit while it is short
LIMIT_MB, LOAD_MB, LEFT_MB = 700, 200, 100
ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
# memory that counts for the group and belongs to no process that could be killed for it
FILL = """
import os, sys
group, path, megabytes = sys.argv[1:]
with open(group, "w") as file:
    file.write(str(os.getpid()))
with open(path, "wb") as file:
    for _ in range(int(megabytes)):
        file.write(bytes(1 << 20))
"""


def memory() -> Iterator[Row]:
    """2 of 8 workers fail to load as long as memory is short."""
    for kind, name in (
        ("short", "RLIMIT_AS refuses a large piece"),
        ("starved", "RLIMIT_AS, all used up and held"),
    ):
        for protected in (False, True):
            with instance(options(protected=protected, processes=WORKERS), env=ONLY) as running:
                running.full_strength()
                running.fail_ever(kind)
                yield (name, _word(protected), *_while_short(running, running.clear))
    for protected in (False, True):
        yield _in_group(protected)


def _word(protected: bool) -> str:
    return "with" if protected else "without"


def _while_short(running: Instance, clear: Callable[[], object]) -> Row:
    """Have two workers load while memory is short; return what became of it, then and after."""
    running.respawn(2)
    begin, answers = time.monotonic(), []
    time.sleep(1.5)
    while time.monotonic() - begin < SHORT_SECONDS:
        answers += load.closed_loop(running.server.port, "/", count=120, clients=6, patience=10.0)
        time.sleep(0.2)
    log = running.server.log()
    failed = (
        log.count("has no app") or log.count("no app loaded") or log.count("killed by signal 9")
    )
    clear()
    gone = time.monotonic()
    strong = running.full_strength(20)
    return (
        load.summary(answers),
        failed,
        f"{time.monotonic() - gone:.1f} s" if strong else "never (20 s)",
    )


def _in_group(protected: bool) -> Row:
    name = f"control group of {LIMIT_MB} MB: OOM killer"
    group = Group.make()
    if group is None:
        return name, _word(protected), "no control group for memory can be made here", "", ""
    env = {"LOAD_MB": str(LOAD_MB), **ONLY}
    with group, instance(options(protected=protected, processes=WORKERS), env=env) as running:
        running.full_strength()
        for pid in (running.server.pid, *running.server.workers()):
            group.add(pid)
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            group.fill(file.name)
            return name, _word(protected), *_while_short(running, lambda: os.truncate(file.name, 0))


class Group:
    """A control group (v1 or v2) of its own with a limit of memory; gone after the block, when its
    processes are.
    """

    def __init__(self, folder: Path, limit: str) -> None:
        self._folder = folder
        (folder / limit).write_text(str(LIMIT_MB << 20))

    @classmethod
    def make(cls) -> Group | None:
        """Make one; return None where that is not allowed, or the kernel has none."""
        for root in ROOTS:
            folder = root / f"resilient-wsgi-bench-{os.getpid()}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                for limit in ("memory.limit_in_bytes", "memory.max"):
                    if (folder / limit).exists():
                        return cls(folder, limit)
                folder.rmdir()
        return None

    def add(self, pid: int) -> None:
        """Have what a process takes from now on count."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def fill(self, path: str) -> None:
        """Take all but a rest of its memory, by a file."""
        size = LIMIT_MB - self._used_mb() - LEFT_MB
        subprocess.run(
            [sys.executable, "-c", FILL, str(self._folder / "cgroup.procs"), path, str(size)],
            check=True,
        )

    def _used_mb(self) -> int:
        for name in ("memory.usage_in_bytes", "memory.current"):
            if (self._folder / name).exists():
                return int((self._folder / name).read_text()) >> 20
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        wait_until(self._remove, 5)

    def _remove(self) -> bool:
        with contextlib.suppress(OSError):  # a process in it is still ending
            self._folder.rmdir()
        return not self._folder.exists()
