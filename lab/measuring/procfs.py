"""What /proc says of processes: who descends from whom, what a thread sleeps in, how much processor
time was used.

Every function answers for processes that may end at any moment: one that is gone is left out, never
an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, List, NamedTuple

PROC = Path("/proc")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are of use here."""

    pid: int
    state: str
    parent: int
    session: int
    cpu_seconds: float


def stat(pid: int) -> Stat | None:
    """Return the fields for this process, or None if there is no such process (any more)."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # the name in brackets may itself hold brackets and blanks: count from the last one
    fields = text[text.rindex(")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), ticks / os.sysconf("SC_CLK_TCK"))


def all_stats() -> Iterator[Stat]:
    """Yield every process of this machine that is not a zombie."""
    for path in PROC.iterdir():
        found = stat(int(path.name)) if path.name.isdigit() else None
        if found is not None and found.state not in "ZX":
            yield found


def children(pid: int) -> List[int]:
    """Return the pids of the living children, oldest first."""
    return sorted(found.pid for found in all_stats() if found.parent == pid)


def session_members(session: int) -> List[int]:
    """Return the pids of all living processes of a session."""
    return [found.pid for found in all_stats() if found.session == session]


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used, user and system; 0.0 if it is gone."""
    found = stat(pid)
    return found.cpu_seconds if found else 0.0


def catches(pid: int, number: int) -> bool:
    """Say whether a process has a handler for a signal; False if it is gone."""
    for line in _read(PROC / str(pid) / "status").splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def thread_waits(pid: int) -> List[str]:
    """Return for each thread the name of the kernel function it sleeps in ("" or "0" while it
    runs).
    """
    try:
        tasks = sorted((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []
    return [_read(task / "wchan") for task in tasks]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
