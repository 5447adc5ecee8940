"""Readiness, shown on real servers: `python -m bench.readiness [table] [plain] [throughput] [memory] [probe] [chain]`.

Each part prints a Markdown table; without arguments all of them run, in about twelve minutes. `--full` has the table cross
every way to name the app with every failure and every occasion.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Tuple

from bench.readiness_cases import GUARD, KINDS, NAMINGS, Instance, instance, options
from lab import load, procfs
from lab.processes import Nginx, ProcessError, Server, wait_until

if TYPE_CHECKING:
    from lab.processes.uwsgi import Option

REQUESTS = 120
CLIENTS = 6
LONG_SECONDS = 10.0
LOAD_SECONDS = 0.5  # of this app, with the interpreter's share of the fork, on a machine that does other things too
# how many fail, when, how often
OCCASIONS = (
    "some, at start",
    "all, at start",
    "some, at respawn",
    "all, at respawn",
    "some, for ever",
    "all, for ever",
)
HEAD = (
    "mode", "named by", "failure", "occasion", "answers", "500s", "respawns", "full strength after", "bound", "master CPU", "held",
)  # fmt: skip
Row = Tuple[object, ...]


def table(full: bool) -> Iterator[Row]:
    """Loads that fail, guarded; the kinds of failure can be named (`python -m bench.readiness table import killed`)."""
    for kind in [kind for kind in KINDS if kind in sys.argv] or KINDS:
        for naming in NAMINGS:
            if kind != "hang":  # in prefork it never comes to accept: a matter for the supervisor
                yield prefork(naming, kind)
            for occasion in OCCASIONS if full or naming == "module" else OCCASIONS[:1]:
                yield lazy(naming, kind, occasion)


def prefork(naming: str, kind: str) -> Row:
    """The load in the master fails: the instance ends at once, as a failure."""
    begin = time.monotonic()
    code, log = _to_its_end(options(naming, lazy=False), kind)
    failed = code not in (0, None)
    answered = log.count("no python application found")
    return (
        "prefork", naming, kind, "in the master", f"ends with {code} in {time.monotonic() - begin:.1f} s", answered, 0, "", "", "",
        _held(failed and not answered),
    )  # fmt: skip


def lazy(naming: str, kind: str, occasion: str) -> Row:
    """Some or all loads fail in the workers."""
    if occasion == "all, for ever":
        begin = time.monotonic()
        env = {"RESILIENT_WSGI_READINESS_ATTEMPTS": "2"}
        code, log = _to_its_end(options(naming), kind, env)
        answered = log.count("no python application found")
        return (
            "lazy", naming, kind, occasion, f"ends with {code} in {time.monotonic() - begin:.1f} s", answered,
            log.count("Respawned"), "", "", "", _held(code == 22 and not answered and "too fast" not in log),
        )  # fmt: skip
    count = 2 if occasion.startswith("some") else 4
    at_start = occasion.endswith("start")
    with instance(options(naming), fail_first=kind if at_start else "", loads=count, may_hang=kind) as running:
        if not at_start:
            running.full_strength()
            running.fail_next(kind, 1000 if occasion.endswith("ever") else count)
            running.respawn(count)
        answers, gone, cpu = _watch(running, occasion.endswith("ever"))
        strong = running.full_strength(40)
        seconds = time.monotonic() - gone
        return _judge(running, ("lazy", naming, kind, occasion), answers, seconds if strong else None, cpu)


def _watch(running: Instance, for_ever: bool) -> Tuple[List[load.Answer], float, float]:
    """Ask while it fails; return the answers, when the cause was gone, and the master's processor time per second."""
    begin, before = time.monotonic(), procfs.cpu_seconds(running.server.pid)
    answers = []
    while True:
        answers += load.closed_loop(running.server.port, "/", count=REQUESTS, clients=CLIENTS, patience=30.0)
        if not for_ever or time.monotonic() - begin > LONG_SECONDS:
            break
        time.sleep(0.2)
    if for_ever:
        running.clear()
    wait_until(lambda: running.tokens_left() == 0, 20)
    gone = time.monotonic()
    return answers, gone, (procfs.cpu_seconds(running.server.pid) - before) / (gone - begin)


def _judge(running: Instance, names: Row, answers: List[load.Answer], seconds: float | None, cpu: float) -> Row:
    log = running.server.log()
    pauses = [float(pause) for pause in re.findall(r"next try in ([\d.]+) s", log)] or [0.0]
    # a load that hangs is over when it is ended; one that holds back for the master's sake adds QUIET_SECONDS
    bound = (
        max(pauses[-4:])
        + LOAD_SECONDS
        + 2.0
        + (2.1 if "all" in str(names[3]) else 0.0)
        + (2.0 if names[2] == "hang" else 0.0)
    )
    bad = sum(not answer.good for answer in answers)
    fives = sum(answer.status == "500" for answer in answers) + log.count("no python application found")
    wrong = [
        *(["not all are 200"] if bad or fives else []),
        *(["too late"] if seconds is None or seconds > bound else []),
        *(["the master slept"] if "too fast" in log else []),
        *(["the master works"] if cpu > 0.1 else []),
    ]
    return (
        *names, load.summary(answers), fives, log.count("Respawned"), "never" if seconds is None else f"{seconds:.1f} s",
        f"{bound:.1f} s", f"{cpu * 100:.1f} %", f"**NO**: {', '.join(wrong)}" if wrong else "yes",
    )  # fmt: skip


def _to_its_end(chosen: Dict[str, Option], kind: str, env: Dict[str, str] | None = None) -> Tuple[int | None, str]:
    holder: List[Server] = []
    try:
        with instance(chosen, always=kind, env=env) as running:
            holder.append(running.server)
            wait_until(lambda: not running.server.alive(), 45)
            return running.server.returncode, running.server.log()
    except ProcessError as error:
        found = re.search(r"ended with code (-?\d+)", str(error))
        return int(found[1]) if found else None, str(error)


def plain(_full: bool) -> Iterator[Row]:
    """uWSGI as it is, with and without need-app."""
    for need_app in (False, True):
        for kind in KINDS:
            if kind != "hang":
                yield _plain(kind, need_app)


def _plain(kind: str, need_app: bool) -> Row:
    with instance(options(guarded=False, need_app=need_app)) as running:
        running.full_strength()
        running.fail_next(kind, 2)
        running.respawn(2)
        wait_until(lambda: running.tokens_left() == 0 or not running.server.alive(), 10)
        time.sleep(1.0)
        answers = load.closed_loop(running.server.port, "/", count=REQUESTS, clients=CLIENTS, patience=5.0)
        wait_until(lambda: not running.server.alive(), 3)
        state = "runs" if running.server.alive() else f"has ended with {running.server.returncode}"
        return ("lazy, plain" + (", need-app" if need_app else ""), kind, load.summary(answers), state)


def throughput(_full: bool) -> Iterator[Row]:
    """Requests per second of 2 healthy workers beside 2 that fail for ever, and of 2 alone, alternating."""
    rates: Dict[bool, List[float]] = {True: [], False: []}
    for _ in range(3):
        for beside in (True, False):
            with instance(options(processes=4 if beside else 2), env={"WORK": "0"}) as running:
                running.full_strength()
                if beside:
                    running.fail_next("import", 100_000)
                    running.respawn(2)
                    running.server.wait_for_log("has no app", count=2)
                rates[beside].append(_wrk(running.server.port, 6))
    ratio = statistics.median(rates[True]) / statistics.median(rates[False])
    yield (*(f"{statistics.median(rates[beside]):.0f}/s" for beside in (True, False)), f"{ratio:.3f}")


def _wrk(port: int, seconds: int) -> float:
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    return float(found[1]) if found else 0.0


def memory(_full: bool) -> Iterator[Row]:
    """2 of 8 workers fail to load as long as memory is short (RLIMIT_AS): one large piece refused, or all used up and held."""
    for kind in ("short", "starved"):
        for guarded in (False, True):
            yield _memory(kind, guarded)


def _memory(kind: str, guarded: bool) -> Row:
    with instance(options(guarded=guarded, processes=8)) as running:
        running.full_strength()
        running.fail_next(kind, 1000)
        running.respawn(2)
        begin = time.monotonic()
        answers = []
        while time.monotonic() - begin < LONG_SECONDS:
            answers += load.closed_loop(running.server.port, "/", count=REQUESTS, clients=CLIENTS, patience=10.0)
            time.sleep(0.2)
        running.clear()
        gone = time.monotonic()
        strong = running.full_strength(20)
        after = f"{time.monotonic() - gone:.1f} s" if strong else "never (20 s)"
        respawns = running.server.log().count("Respawned")
        return (kind, "guarded" if guarded else "plain", load.summary(answers), respawns, after)


def probe(_full: bool) -> Iterator[Row]:
    """The exec probe and the HTTP probe while nobody takes anything from a full queue."""
    with instance({**_checked(), "listen": 64}, ready="^WSGI app 0") as running:
        wait_until(lambda: load.get(running.server.port, "/-/ready").status == "200", 10)
        yield ("idle", *_probes(running))
        clients = []
        for pid in running.server.workers():
            os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(90):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", running.server.port))
                clients.append(client)
            yield ("queue full", *_probes(running))
        finally:
            for client in clients:
                client.close()
            for pid in running.server.workers():
                os.kill(pid, signal.SIGCONT)


def _probes(running: Instance) -> Row:
    command = [str(Path(sys.executable).with_name("resilient-wsgi")), "ready", "--pid", str(running.server.pid)]
    times, codes, before = [], set(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(20):
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, check=False)
        times.append(time.monotonic() - begin)
        codes.add(done.returncode)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 20
    answer = load.get(running.server.port, "/-/ready", patience=2.0)
    return (
        f"{statistics.median(times) * 1000:.0f} ms (worst {max(times) * 1000:.0f} ms)", f"{cpu * 1000:.0f} ms", codes,
        f"{answer.status} after {answer.end - answer.begin:.2f} s",
    )  # fmt: skip


def chain(_full: bool) -> Iterator[Row]:
    """50 chain reloads under load, nginx in front; a worker is cold for 0.3 s after its load."""
    for guarded in (False, True):
        yield _chain(guarded, 50 if guarded else 5)


def _chain(guarded: bool, reloads: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        touch = Path(folder, "chain")
        touch.touch()
        chosen = {**_checked(), "touch-chain-reload": str(touch), "worker-reload-mercy": 10}
        if not guarded:
            chosen = {key: value for key, value in chosen.items() if key not in GUARD}
        with (
            instance(chosen, env={"WARM_SECONDS": "0.3"}, ready="^WSGI app 0", listen_on="uwsgi") as running,
            Nginx([running.server.address], read_timeout=10) as nginx,
        ):
            wait_until(lambda: load.get(nginx.port, "/").good, 10)
            begin = time.monotonic()
            with load.Load(nginx.port, [load.Rate("/", 60)], patience=10.0, seconds=400) as traffic:
                for number in range(reloads):
                    stamp = time.time() + number * 2 + 2
                    os.utime(touch, (stamp, stamp))
                    running.server.wait_for_log("chain reloading complete", 60, count=number + 1)
            cold = sum(answer.status == "503" for answer in traffic.answers)
            failed = sum(not answer.good for answer in traffic.answers) - cold
            return (
                "guarded" if guarded else "plain", reloads, len(traffic.answers), failed, cold,
                f"{(time.monotonic() - begin) / reloads:.1f} s",
            )  # fmt: skip


def _checked() -> Dict[str, Option]:
    return {**options(processes=2), "module": "readiness_checked_app", **GUARD}


def _held(truth: bool) -> str:
    return "yes" if truth else "**NO**"


PARTS: Dict[str, Tuple[Callable[[bool], Iterator[Row]], Row]] = {
    "table": (table, HEAD),
    "plain": (plain, ("uWSGI", "failure of 2 of 4 at respawn", "answers", "the instance")),
    "throughput": (throughput, ("2 healthy beside 2 that fail", "2 alone", "ratio")),
    "memory": (memory, ("memory", "", "answers while memory is short", "respawns", "all 8 serve again after")),
    "probe": (probe, ("", "exec probe", "its processor time", "exit codes", "HTTP probe")),
    "chain": (chain, ("", "chain reloads", "requests", "failed", "answered cold", "each takes")),
}


def main(arguments: List[str]) -> None:
    """Run the parts that are named, or all."""
    for name in [argument for argument in arguments if argument in PARTS] or PARTS:
        part, head = PARTS[name]
        print(f"\n### {name}: {(part.__doc__ or '').splitlines()[0]}\n")
        print("| " + " | ".join(map(str, head)) + " |\n|" + " --- |" * len(head))
        for row in part("--full" in arguments):
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
