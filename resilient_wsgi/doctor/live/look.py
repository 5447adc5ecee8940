"""Look at a running instance from outside: /proc, the kernel's list of sockets, the scoreboard.

It is told nothing and asked nothing; two looks, 0.2 s apart or more, tell what stands still from
what passes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from typing import Dict, List, Set

from ...host import pipes, procfs, sockets
from ..machine import Machine
from ..subject import Subject
from . import board, cgroup, connections
from .instance import Live, Process, Queue, Stuck, Wait

APART_SECONDS = 0.2
WAIT_SECONDS = 1.0  # a wait that lasts longer is not that for a quick answer

Waiting = Dict[int, Dict[int, connections.Waiting]]
Known = Dict[int, connections.Connection]
_SHM = "/dev/shm"  # noqa: S108 - it is looked at, not used
_MOST_BYTES = 1 << 16


def look(subject: Subject, master: int, workers: List[int]) -> Live:
    """Return what is seen of an instance; what cannot be is noted in the subject."""
    look_at = [master, *workers]
    before, known = _states(look_at), connections.of_namespace(master)
    waiting = {pid: connections.waited_for(pid) for pid in workers}
    stuck = _stuck(subject, master)
    time.sleep(APART_SECONDS)
    after = _states(look_at)
    seen = board.of(master)
    if seen is None:
        subject.skip(f"requests and loads of {master}", "it has no scoreboard")
    apps = seen.apps if seen else {}
    made = [_process(pid, before, after, apps) for pid in look_at if after.get(pid)]
    live = Live(made[0] if made else Process(master), made[1:])
    live.stuck = stuck
    mine = connections.of_processes(look_at, known)
    ours = {each.port for each in mine if each.listens}
    live.waits = _waits(waiting, known, ours)
    live.queues = _queues(subject, master)
    live.requests = seen.requests if seen else []
    live.program = procfs.exe(master)
    live.children = _children(master, before)
    facts = {**cgroup.facts(master), **_shm(master)}
    # of clients: a pool of connections to upstreams may hold some that were closed there
    left = [each for each in mine if each.state == connections.CLOSE_WAIT and each.port in ours]
    facts["close_wait"] = str(len(left))
    live.facts = Machine(facts)
    return live


def same_namespace(pid: int, kind: str) -> bool:
    """Return whether a process is in this one's namespace of a kind (`net`, `mnt`), as far as that
    can be seen.
    """
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    return False


def age_seconds(pid: int) -> float:
    """Return how long ago a process was started, 0 if that is not known."""
    words, started = procfs.read("/proc/uptime").split(), procfs.start(pid)
    if not words or not started:
        return 0.0
    return max(0.0, float(words[0]) - started / os.sysconf("SC_CLK_TCK"))


def _states(pids: List[int]) -> Dict[int, str]:
    found = ((pid, procfs.stat(pid)) for pid in pids)
    return {pid: stat.state for pid, stat in found if stat is not None}


def _process(
    pid: int, before: Dict[int, str], after: Dict[int, str], apps: Dict[int, str]
) -> Process:
    state = after[pid] if before.get(pid) == after[pid] else "R"
    most = _limit(pid, "Max open files")
    count = 0
    with suppress(OSError):
        count = len(procfs.fds(pid))
    return Process(pid, state, age_seconds(pid), count, most, apps.get(pid, ""))


def _limit(pid: int, name: str) -> int:
    for line in procfs.read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(name):
            soft = line[len(name) :].split()[0]
            return int(soft) if soft.isdigit() else 0
    return 0


def _stuck(subject: Subject, master: int) -> List[Stuck]:
    with suppress(OSError):
        return [
            Stuck(
                len(each.threads),
                f"{each.kind} {each.inode}",
                ", ".join(f"{holder.name} ({holder.pid})" for holder in each.holders),
            )
            for each in pipes.full_logs(master)
        ]
    subject.skip(f"what the threads of {master} wait for", "no permission: run this as root")
    return []


def _waits(waiting: Waiting, known: Known, ours: Set[int]) -> Dict[str, Wait]:
    """Return what threads wait for, and still do after a second; a client of ours is none."""
    counted: Dict[str, List[bool]] = {}
    if any(waiting.values()):
        time.sleep(WAIT_SECONDS)
    for pid, threads in waiting.items():
        now = connections.waited_for(pid)
        for tid, wait in threads.items():
            peer = known.get(wait.inode)
            if peer is not None and now.get(tid) == wait and peer.port not in ours:
                counted.setdefault(peer.peer, []).append(tid == pid)
    return {peer: Wait(len(mains), sum(mains)) for peer, mains in counted.items()}


def _queues(subject: Subject, master: int) -> List[Queue]:
    if not same_namespace(master, "net"):
        subject.skip(
            f"listen queues and sysctls of {master}",
            f"it has a network namespace of its own. Fix: nsenter -t {master} -n",
        )
        return []
    with suppress(OSError):
        known = sockets.listeners()
        names = Counter(each.name for each in known.values())
        return [
            Queue(each.name, each.depth, each.limit, _holders(master, each.name, names[each.name]))
            for each in sockets.listeners_of(master, known)
        ]
    subject.skip(f"listen queues of {master}", "no permission: run this as root")
    return []


def _holders(master: int, name: str, count: int) -> int:
    if not name.startswith("/"):
        return 1  # several sockets of one TCP port are SO_REUSEPORT's, and meant
    return count if os.path.exists(f"/proc/{master}/root{name}") else 0


def _children(master: int, before: Dict[int, str]) -> Dict[str, int]:
    """Return how many children are zombies, or sleep where no signal reaches them, both times."""
    found: Counter[str] = Counter()
    for pid in procfs.children(master):
        stat = procfs.stat(pid)
        if stat and stat.state in ("Z", "D") and before.get(pid, stat.state) == stat.state:
            found[stat.state] += 1
    return dict(found)


def _shm(master: int) -> Dict[str, str]:
    with suppress(OSError):
        about = os.statvfs(f"/proc/{master}/root{_SHM}")
        unit = about.f_frsize
        return {"shm.size": str(about.f_blocks * unit), "shm.free": str(about.f_bavail * unit)}
    return {}
