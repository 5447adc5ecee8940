"""Put a running instance into a subject: what is seen of it, its command, and its files."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Dict, List, Mapping, Optional

from ...host import procfs
from ..collect import from_paths
from ..machine import Machine
from ..model import Location
from ..read import command
from ..read.command import Command
from ..read.runner import INSTANCE, Fact, Runner
from ..subject import Subject
from .instance import Live
from .look import age_seconds, look, same_namespace

HERE = Location("")
_MOST_BYTES = 1 << 20


def attach(subject: Subject, master: int, workers: List[int]) -> bool:
    """Add an instance by the pids of its master and its workers; return whether it is a server."""
    if not same_namespace(master, "net"):
        subject.machine = Machine()  # this host's sysctls are not those of the instance
    live = look(subject, master, workers)
    subject.live = live
    found = _placed(_command(master), master)
    live.runner = _runner(live, found)
    files = found.files() if found else []
    from_paths(files, subject)
    live.changed = _changed(files, workers or [master])
    return _is_server(master, found, workers, live)


def _is_server(master: int, found: Optional[Command], workers: List[int], live: Live) -> bool:
    """Return whether the process itself is a server: not the shell that started one and waits for
    it. A process with children of its own program is one only where its sockets cannot be seen.
    """
    started = found is not None and not found.shell
    return started or bool(live.queues or (workers and not same_namespace(master, "net")))


def _command(pid: int) -> Optional[Command]:
    words = _strings(f"/proc/{pid}/cmdline")
    found = command.command(words, HERE, f"process {pid}")
    if not found and words[1:]:  # python /srv/venv/bin/gunicorn ...
        found = command.command(words[1:], HERE, f"process {pid}")
    return found[0] if found else None


def _placed(found: Optional[Command], pid: int) -> Optional[Command]:
    """Return a command with its files where they lie as seen from here."""
    if found is None:
        return None
    files = {each: _path(pid, each) for each in found.files()}
    return found._replace(words=[_replaced(word, files) for word in found.words])


def _replaced(word: str, files: Mapping[str, str]) -> str:
    """Return `--ini=FILE` or `FILE:section` with the file replaced."""
    name, equals, value = word.rpartition("=")
    for file, path in files.items():
        if value == file or value.startswith(f"{file}:"):
            return f"{name}{equals}{path}{value[len(file) :]}"
    return word


def _runner(live: Live, found: Optional[Command]) -> Runner:
    runner = Runner(INSTANCE, live.name, HERE)
    runner.commands = [found] if found else []
    memory = live.number("memory.max")
    runner.memory_bytes = Fact(memory, HERE) if memory is not None else None
    most = live.master.most_descriptors
    runner.descriptors = Fact(most, HERE) if most else None
    runner.environment = _environment(live.master.pid)
    return runner


def _environment(pid: int) -> Dict[str, str]:
    pairs = (each.partition("=") for each in _strings(f"/proc/{pid}/environ"))
    return {name: value for name, equals, value in pairs if equals}


def _path(pid: int, file: str) -> str:
    """Return where a file of a process lies, as seen from here."""
    cwd = procfs.link_of(f"/proc/{pid}/cwd")
    inside = os.path.normpath(os.path.join(cwd or "/", file))
    return inside if same_namespace(pid, "mnt") else f"/proc/{pid}/root{inside}"


def _changed(files: List[str], processes: List[int]) -> List[str]:
    """Return the files that were changed after the oldest of these processes was started.

    Workers, because a reload leaves the master's start as it was.
    """
    ages = [age for age in map(age_seconds, processes) if age]
    if not ages:
        return []
    begun = time.time() - max(ages)
    found: List[str] = []
    for each in files:
        with suppress(OSError):
            found += [each] if os.stat(each).st_mtime > begun else []
    return found


def _strings(path: str) -> List[str]:
    return procfs.read(path)[:_MOST_BYTES].rstrip("\0").split("\0")
