"""What the cgroup of a process grants, and how much of that is used (cgroup v2)."""

from __future__ import annotations

import os
from typing import Dict, Optional

from ...host import procfs

ROOT = "/sys/fs/cgroup"
_MOST_LEVELS = 32


def facts(pid: int) -> Dict[str, str]:
    """Return limits and counters by name; those that hold are the tightest of all cgroups around.

    Empty under cgroup v1, and where /sys/fs/cgroup is not mounted.
    """
    folder = _folder(pid)
    if folder is None:
        return {}
    found: Dict[str, str] = {}
    _add(found, "memory.oom_kill", _word(f"{folder}/memory.events", "oom_kill"))
    _add(found, "cpu.periods", _word(f"{folder}/cpu.stat", "nr_periods"))
    _add(found, "cpu.throttled", _word(f"{folder}/cpu.stat", "nr_throttled"))
    limits = _tightest(folder, "pids.max"), _tightest(folder, "memory.max")
    _add(found, "pids.current", procfs.read(f"{folder}/pids.current").strip())
    _add(found, "pids.max", limits[0])
    _add(found, "memory.max", limits[1])
    return found


def _folder(pid: int) -> Optional[str]:
    for line in procfs.read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::/") and ".." not in line:
            folder = os.path.join(ROOT, line[len("0::/") :]).rstrip("/")
            return folder if os.path.exists(f"{folder}/cgroup.procs") else None
    return None


def _tightest(folder: str, name: str) -> str:
    found = []
    for _ in range(_MOST_LEVELS):
        text = procfs.read(f"{folder}/{name}").strip()
        found += [int(text)] if text.isdigit() else []
        if folder == ROOT:
            break
        folder = os.path.dirname(folder)
    return str(min(found)) if found else ""


def _word(path: str, name: str) -> str:
    for line in procfs.read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return value
    return ""


def _add(found: Dict[str, str], name: str, value: str) -> None:
    if value:
        found[name] = value
