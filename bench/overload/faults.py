"""Overloads in which something else goes wrong, too, without the library and with it.

`python -m bench.overload.faults [part of a name] [with what ...]`, as `cells` has it: twice the
capacity of 40/s is asked for, for 45 s, by clients that wait for 2 s, unless said; nginx in front.
After 20 s the fault. Good answers, of the capacity: from the 10th to the 20th second, from the 30th
to the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Sequence

from bench.overload.cells import COMMON, DEFAULTS, PROTECTED, WITHOUT
from bench.report import machine
from lab.measuring import load
from lab.processes import Nginx, Server
from lab.processes.base import free_port
from lab.processes.uwsgi import Option

CAPACITY, SECONDS, FAULT, AFTER = 40.0, 45.0, 20.0, 30.0
Fault = Callable[[Sequence[Server]], None]


def nothing(_servers: Sequence[Server]) -> None:
    """The fault is there from the beginning."""


def reload(servers: Sequence[Server]) -> None:
    """Reload the instance."""
    servers[0].signal(signal.SIGHUP)


def stop(workers: int, seconds: float) -> Fault:
    """Return what stops so many workers for a while."""

    def fault(servers: Sequence[Server]) -> None:
        pids = servers[0].workers()[:workers]
        for number, pause in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
            for pid in pids:
                os.kill(pid, number)
            time.sleep(pause)

    return fault


@dataclass
class Scene:
    """What goes wrong. Several instances share a port; a second socket is TCP."""

    fault: Fault = nothing
    options: Dict[str, Option] = field(default_factory=dict)
    listen_on: str = "unix"
    instances: int = 1
    second_socket: bool = False
    nginx_workers: int = 1
    factor: float = 2.0
    patience: float = 2.0


SCENES = {
    "nginx with 4 workers": Scene(nginx_workers=4),
    "cheaper: 1 to 4 workers": Scene(options={"cheaper": 1, "cheaper-initial": 1}),
    "a reload": Scene(reload),
    "a reload, lazy-apps": Scene(reload, options={"lazy-apps": True}),
    "a worker stopped for 8 s": Scene(stop(1, 8)),
    "all stopped for 6 s": Scene(stop(4, 6)),
    "all stopped for 6 s, TCP": Scene(stop(4, 6), listen_on="uwsgi"),
    "a UNIX and a TCP socket": Scene(second_socket=True),
    "two instances on one port": Scene(
        options={"processes": 2, "reuse-port": True}, instances=2
    ),
    "listen = 100": Scene(options={"listen": 100}),
    "listen = 100, TCP": Scene(options={"listen": 100}, listen_on="uwsgi"),
    "listen = 100, TCP, 4 x, patience 10 s": Scene(
        options={"listen": 100}, listen_on="uwsgi", factor=4, patience=10
    ),
    "listen = 100, UNIX, 4 x, patience 10 s": Scene(
        options={"listen": 100}, factor=4, patience=10
    ),
}  # fmt: skip


def run(scene: Scene, how: str) -> str:
    """Return the cells of a row."""
    with contextlib.ExitStack() as stack:
        servers = start(scene, how, stack)
        nginx = Nginx(addresses(servers[0]), workers=scene.nginx_workers)
        port = stack.enter_context(nginx).port
        load.burst(port, "/", 8, 10)
        rate = load.Rate("/", scene.factor * CAPACITY)
        with load.Load(port, [rate], scene.patience, SECONDS) as asked:
            begin = time.monotonic()
            time.sleep(FAULT)
            scene.fault(servers)
            time.sleep(max(0.0, begin + SECONDS - time.monotonic()))
    good = [
        sum(a.good for a in asked.answers if since < a.end - begin <= until)
        / (until - since)
        / CAPACITY
        for since, until in ((10.0, FAULT), (AFTER, SECONDS))
    ]
    counts = load.by_status(asked.answers)
    rest = {name: count for name, count in sorted(counts.items()) if name != "200"}
    return f"{good[0]:.0%} | {good[1]:.0%} | {rest}"


def start(scene: Scene, how: str, stack: contextlib.ExitStack) -> List[Server]:
    """Start the instances."""
    app = "bench.overload.overload_app:" + ("unprotected" if how == WITHOUT else "protected")
    options: Dict[str, Option] = {**COMMON, "processes": 4, "module": app, **scene.options}
    if how != WITHOUT:
        options.update(PROTECTED)
    if scene.second_socket or scene.instances > 1:
        options["socket"] = f"127.0.0.1:{free_port()}"
    listen_on = "" if scene.instances > 1 else scene.listen_on
    count = int(str(options.get("cheaper-initial", options["processes"])))
    servers = [
        Server(options, listen_on=listen_on, ready_count=count) for _ in range(scene.instances)
    ]
    return [stack.enter_context(server) for server in servers]


def addresses(server: Server) -> List[str]:
    """Return where nginx is to ask."""
    own = [server.address] if server.listen_on else []
    return [*own, *(str(value) for name, value in server.options.items() if name == "socket")]


def main(part: str = "", *hows: str) -> None:
    """Print the table."""
    print(machine("uwsgi"), "\n")
    print("| | | good before | good after | otherwise |\n| --- | --- | --- | --- | --- |")
    for name, scene in SCENES.items():
        for how in (hows or (WITHOUT, DEFAULTS)) if part in name else ():
            print(f"| {name} | {how} | {run(scene, how)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
