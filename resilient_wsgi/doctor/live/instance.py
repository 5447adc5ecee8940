"""What was seen of a running instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ..machine import Machine
from ..read.runner import Runner


class Queue(NamedTuple):
    """A listen queue; `holders` is how many sockets of that name listen, 0 if the path of a UNIX
    socket is gone.
    """

    name: str
    depth: int
    limit: int
    holders: int = 1


class Process(NamedTuple):
    """The master or a worker, twice looked at: `state` is that of both times, or R."""

    pid: int
    state: str = "S"
    age: float = 0.0  # seconds since its start
    descriptors: int = 0
    most_descriptors: int = 0  # its soft limit, 0 if unknown
    app: str = ""  # what the scoreboard says of its app, "" if nothing


class Running(NamedTuple):
    """A request that runs, from the scoreboard."""

    pid: int
    seconds: float
    what: str = ""


class Wait(NamedTuple):
    """How many threads of workers wait for a peer, for a second at least, and how many of them are
    main threads: others may belong to the app, and serve no requests.
    """

    threads: int
    main: int


class Stuck(NamedTuple):
    """Threads that are stuck in a write to a log, and who should read it."""

    threads: int
    log: str
    reader: str = ""


@dataclass
class Live:
    """A running instance: empty and None where nothing could be seen, or there is nothing.

    `facts` are numbers by name: `memory.oom_kill`, `cpu.periods`, `cpu.throttled`, `pids.current`,
    `pids.max`, `shm.size`, `shm.free` (bytes), `close_wait` (sockets), `threads` (that serve).
    """

    master: Process
    workers: List[Process] = field(default_factory=list)
    queues: List[Queue] = field(default_factory=list)
    requests: List[Running] = field(default_factory=list)
    stuck: List[Stuck] = field(default_factory=list)
    waits: Dict[str, Wait] = field(default_factory=dict)  # by the address of the peer
    changed: List[str] = field(default_factory=list)  # files, since the start
    program: str = ""  # as /proc/PID/exe says
    children: Dict[str, int] = field(default_factory=dict)  # how many are in a state
    facts: Machine = field(default_factory=Machine)
    runner: Optional[Runner] = None  # how it was started

    @property
    def processes(self) -> List[Process]:
        """The master and the workers."""
        return [self.master, *self.workers]

    @property
    def name(self) -> str:
        """How findings call it."""
        return f"master {self.master.pid}"

    def number(self, name: str) -> Optional[int]:
        """Return a fact that is a number, None if it is unknown."""
        return self.facts.number(name)


def described(text: str) -> Live:
    """Return the instance of an example, one thing a line: `worker = 71 state=Z age=5`."""
    live, facts = Live(Process(1)), {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        take = _TAKES.get(name.strip())
        if take is not None:
            take(live, *_parts(value))
        elif equals:
            facts[name.strip()] = value.strip()
    live.facts = Machine(facts)
    return live


def _parts(value: str) -> Tuple[str, Dict[str, str]]:
    words = value.split()
    named = dict(word.split("=", 1) for word in words if "=" in word)
    return " ".join(word for word in words if "=" not in word), named


def _process(first: str, more: Dict[str, str]) -> Process:
    return Process(
        int(first),
        more.get("state", "S"),
        float(more.get("age", "0")),
        int(more.get("descriptors", "0")),
        int(more.get("most", "0")),
        more.get("app", "").replace("_", " "),
    )


def _queue(first: str, more: Dict[str, str]) -> Queue:
    depth, _, limit = more["depth"].partition("/")
    return Queue(first, int(depth), int(limit), int(more.get("holders", "1")))


_Take = Callable[[Live, str, Dict[str, str]], None]
_TAKES: Dict[str, _Take] = {
    "master": lambda live, first, more: setattr(live, "master", _process(first, more)),
    "worker": lambda live, first, more: live.workers.append(_process(first, more)),
    "queue": lambda live, first, more: live.queues.append(_queue(first, more)),
    "request": lambda live, first, more: live.requests.append(
        Running(int(first), float(more["seconds"]), more.get("what", ""))
    ),
    "stuck": lambda live, first, more: live.stuck.append(
        Stuck(int(more["threads"]), first, more.get("reader", ""))
    ),
    "wait": lambda live, first, more: live.waits.update(
        {first: Wait(int(more["threads"]), int(more.get("main", more["threads"])))}
    ),
    "changed": lambda live, first, _more: live.changed.append(first),
    "program": lambda live, first, _more: setattr(live, "program", first),
    "children": lambda live, first, more: live.children.update({first: int(more["number"])}),
}
