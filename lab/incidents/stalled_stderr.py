"""Log output blocks every thread: standard error is a pipe that is not read; and the variant
without any reader.

2 processes; every request writes a line of about 200 bytes, and uWSGI its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass, field
from typing import Dict, Iterator, List

from lab import shop
from lab.measuring import load, procfs
from lab.measuring.listen_queue import close_wait_count, tcp_depth
from lab.measuring.sampler import IN_WRITE, Sampler, blocked_threads
from lab.processes import ProcessError, Server
from lab.rendering.result import Result

INCIDENT = "stalled-stderr"
PROCESSES = 2
COUNT = 3000
CLIENTS = 8
PACED = load.Rate("/noisy?lines=1", 100)  # at first, so that one can watch
PACED_SECONDS = 2.5
# then, so that all of it is twice what pipe and processes keep, however it falls to these
FAST = "/noisy?lines=2"
PATIENCE_SECONDS = 1.5
STUCK_SECONDS = 3.0  # a master that has not moved by then never will
OBEY_SECONDS = 15.0  # a master that obeys has to start Django again on a busy machine


def run(protected: bool) -> Result:
    """Run both variants; the time series is that of the pipe that nobody reads."""
    result = Result(INCIDENT, protected)
    stalled, closed = (
        _run(reader=True, protected=protected),
        _run(reader=False, protected=protected),
    )
    result.series = stalled.sampler.series
    _judge_stalled(result, stalled)
    _judge_closed(result, closed)
    stuck = "and goes on answering" if stalled.still_answers else "stuck for good"
    obeys = "obeys" if stalled.reloads and stalled.ends else "does not obey"
    result.seen = (
        f"stalled reader: {stalled.good} of {len(stalled.answers)} answered, {stuck}; the master "
        f"{obeys}; "
        f"no reader: {closed.good} of {len(closed.answers)} answered, "
        f"{closed.cpu_percent:.0f} % CPU"
    )
    return result


@dataclass
class _Run:
    sampler: Sampler
    answers: List[load.Answer] = field(default_factory=list)
    seconds: float = 0.0
    blocked: int = 0
    close_wait: int = 0
    cpu_percent: float = 0.0
    runnable: float = 0.0
    still_answers: bool = False
    reloads: bool = False
    ends: bool = False
    words: str = ""

    @property
    def good(self) -> int:
        return sum(answer.good for answer in self.answers)


@contextlib.contextmanager
def _pipe() -> Iterator[Dict[str, int]]:
    """Give both ends of a pipe; what is still in the dictionary after the block is closed then."""
    read_end, write_end = os.pipe()
    ends = {"read": read_end, "write": write_end}
    try:
        yield ends
    finally:
        for descriptor in ends.values():
            os.close(descriptor)


def _run(*, reader: bool, protected: bool) -> _Run:
    options = shop.options(
        protected=protected, processes=PROCESSES, die_on_term=True, worker_reload_mercy=3
    )
    with (
        shop.environment() as env,
        _pipe() as ends,
        Server(options, env=env, stderr=ends["write"]) as server,
    ):
        os.close(ends.pop("write"))
        load.burst(server.port, "/", PROCESSES * 2, 10.0)
        if not reader:  # as when the `ssh` at the other end dies
            os.close(ends.pop("read"))
        sampler = Sampler(lambda: tcp_depth(server.port), lambda: blocked_threads(server.workers()))
        run = _Run(sampler)
        with sampler:
            _load(run, server)
            run.still_answers = load.get(server.port, "/", PATIENCE_SECONDS).good
            run.blocked = blocked_threads(server.workers(), IN_WRITE)
            run.close_wait = close_wait_count(server.port)
            _watch_processor(run, [server.pid, *server.workers()])
            if "read" in ends and protected:
                run.words = _drain(ends["read"], server)
            if "read" in ends or protected:
                _give_orders(run, server, OBEY_SECONDS if protected else STUCK_SECONDS)
            sampler.add_answers(run.answers)
    return run


def _load(run: _Run, server: Server) -> None:
    """Send COUNT requests, at a walk first and then as fast as they are answered; stop when nothing
    is answered.
    """
    begin = time.monotonic()
    with load.Load(server.port, [PACED], patience=PATIENCE_SECONDS, seconds=PACED_SECONDS) as walk:
        time.sleep(PACED_SECONDS)
    run.answers = walk.answers
    if not _nothing_comes(run.answers):
        run.sampler.mark("full speed")
        run.answers += load.closed_loop(
            server.port,
            FAST,
            count=COUNT - len(walk.answers),
            clients=CLIENTS,
            patience=PATIENCE_SECONDS,
            give_up=_nothing_comes,
        )
    run.seconds = time.monotonic() - begin


def _nothing_comes(answers: List[load.Answer]) -> bool:
    return len(answers) >= CLIENTS and not any(answer.good for answer in answers[-CLIENTS:])


def _watch_processor(run: _Run, pids: List[int]) -> None:
    """Note what these processes use of the processor in a second without load.

    The share of a core says little on a busy machine, where even a loop without end gets only its
    part; that it wants to run whenever one looks is true on any.
    """
    begin, before = time.monotonic(), sum(map(procfs.cpu_seconds, pids))
    looks = []
    while time.monotonic() < begin + 1.0:
        looks.append(
            any(found is not None and found.state == "R" for found in map(procfs.stat, pids))
        )
        time.sleep(0.02)
    run.cpu_percent = (
        100 * (sum(map(procfs.cpu_seconds, pids)) - before) / (time.monotonic() - begin)
    )
    run.runnable = sum(looks) / len(looks)


def _drain(read_end: int, server: Server) -> str:
    """Read the pipe, let the server write some more, return all that came; then leave the pipe to
    fill up again.
    """
    os.set_blocking(read_end, False)
    text = b""
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            while True:
                text += os.read(read_end, 1 << 16)
        load.burst(server.port, PACED.path, PROCESSES * 4, PATIENCE_SECONDS)
    load.closed_loop(
        server.port, PACED.path, count=COUNT // 4, clients=CLIENTS, patience=PATIENCE_SECONDS
    )  # full again
    return text.decode(errors="replace")


def _give_orders(run: _Run, server: Server, patience: float) -> None:
    """Reload and stop it by signals, as an operator would."""
    old = set(server.workers())
    run.sampler.mark("SIGHUP")
    server.signal(signal.SIGHUP)
    end = time.monotonic() + patience
    while time.monotonic() < end and not run.reloads:
        fresh = (
            server.alive()
            and not old & set(server.workers())
            and len(server.workers()) == PROCESSES
        )
        run.reloads = fresh and load.get(server.port, "/", PATIENCE_SECONDS).good
        time.sleep(0.05)
    run.sampler.mark("SIGTERM")
    with contextlib.suppress(ProcessError):
        server.stop(signal.SIGTERM, patience=patience)
        run.ends = True


def _judge_stalled(result: Result, run: _Run) -> None:
    result.figures.update(
        {
            "stalled reader: answered": f"{run.good} of {len(run.answers)}",
            "stalled reader: seconds": round(run.seconds, 1),
            "stalled reader: blocked threads": run.blocked,
            "stalled reader: CLOSE_WAIT": run.close_wait,
            "stalled reader: CPU, %": round(run.cpu_percent),
        }
    )
    if result.protected:
        notices = [
            line
            for line in run.words.splitlines()
            if re.search(r"\d.*(dropped|lost)|(dropped|lost).*\d", line)
        ]
        result.excerpts += notices[:1]
        result.check(f"stalled reader: {COUNT} of {COUNT} answered", run.good == COUNT)
        result.check("stalled reader: no thread sleeps in write(2)", run.blocked == 0)
        result.check("stalled reader: the master reloads when asked to", run.reloads)
        result.check("stalled reader: the master ends when asked to", run.ends)
        result.check("when the pipe drains, the number of lines lost is said", bool(notices))
    else:
        result.check(
            "stalled reader: stuck after some hundred requests at most", 20 <= run.good <= 600
        )
        result.check("stalled reader: for good", not run.still_answers)
        result.check("stalled reader: all workers sleep in write(2)", run.blocked == PROCESSES)
        result.check("stalled reader: sockets pile up in CLOSE_WAIT", run.close_wait > 0)
        result.check("stalled reader: the master obeys no signal", not run.reloads and not run.ends)


def _judge_closed(result: Result, run: _Run) -> None:
    result.figures["no reader: answered"] = f"{run.good} of {len(run.answers)}"
    result.figures["no reader: CPU, %"] = round(run.cpu_percent)
    if result.protected:
        result.check(f"no reader: {COUNT} of {COUNT} answered", run.good == COUNT)
        result.check("no reader: idle when no client asks", run.runnable < 0.3)
        result.check(
            "no reader: the master reloads and ends when asked to", run.reloads and run.ends
        )
    else:
        result.check("no reader: few are answered", run.good < 100)
        result.check(
            "no reader: burns the processor though no client asks (SIGPIPE storm)",
            run.runnable > 0.8,
        )
