"""A worker fails to load the app and answers 500 for ever.

master, lazy-apps, 4 processes. Two workers are respawned while memory is short: an RLIMIT_AS that
the import of the app runs into. Then memory is there again, and nothing is restarted by hand.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import List, Set

from lab import shop
from lab.measuring import load
from lab.measuring.listen_queue import tcp_depth
from lab.measuring.sampler import Sampler, blocked_threads
from lab.processes import Server, wait_until
from lab.rendering.result import Result, excerpt

INCIDENT = "failed-load"
PROCESSES = 4
SHORT_LOADS = 2
CATALOGUE_MB = 160
HEALTHY_SECONDS = 1.0
WATCH_SECONDS = 4.0
HEALING_SECONDS = START_SECONDS = 30.0  # Django, on a busy machine
RATE = load.Rate("/", 100)
FINAL = 200


def run(protected: bool) -> Result:
    """Let two of four workers fail their load, watch for some seconds, then count 200 answers."""
    result = Result(INCIDENT, protected)
    options = shop.options(protected=protected, processes=PROCESSES, lazy_apps=True)
    with (
        tempfile.TemporaryDirectory(prefix="lab-short-memory-") as tokens,
        shop.environment(SHOP_CATALOGUE_MB=str(CATALOGUE_MB), SHOP_SHORT_MEMORY=tokens) as env,
        Server(options, env=env) as server,
    ):
        load.burst(server.port, "/", PROCESSES * 2, 10.0)
        with (
            Sampler(
                lambda: tcp_depth(server.port), lambda: blocked_threads(server.workers())
            ) as sampler,
            load.Load(server.port, [RATE], patience=5.0) as traffic,
        ):
            time.sleep(HEALTHY_SECONDS)
            sampler.mark("memory short, 2 workers respawned")
            loads = _respawn_short_of_memory(server, Path(tokens))
            respawned = set(server.workers())
            sampler.mark("memory there again")
            time.sleep(WATCH_SECONDS)
            traffic.stop()
            sampler.add_answers(traffic.answers)
        result.series = sampler.series
        final = load.closed_loop(server.port, "/", count=FINAL, clients=8, patience=5.0)
        serving = _workers_that_serve(server, HEALING_SECONDS if protected else 2.0)
        result.figures["loads that ran short of memory"] = loads
        result.figures["workers restarted after that"] = len(set(server.workers()) - respawned)
        _judge(result, server.log(), traffic.answers, final, serving)
    return result


def _respawn_short_of_memory(server: Server, tokens: Path) -> int:
    """Make the next loads run short, send two workers away, and return how many loads ran short."""
    for number in range(SHORT_LOADS):
        (tokens / str(number)).touch()
    for pid in server.workers()[-SHORT_LOADS:]:
        os.kill(pid, signal.SIGHUP)  # uWSGI's own "finish and go"
    wait_until(lambda: not any(tokens.iterdir()), START_SECONDS)
    server.wait_for_log("MemoryError", START_SECONDS, count=SHORT_LOADS)
    return SHORT_LOADS - len(list(tokens.iterdir()))


def _workers_that_serve(server: Server, patience: float) -> Set[str]:
    """Return the pids that good answers come from; ask until it is all of them, at most `patience`
    seconds.
    """
    serving: Set[str] = set()

    def all_seen() -> bool:
        answers = load.burst(server.port, "/", PROCESSES * 4, 5.0)
        serving.update(answer.worker for answer in answers if answer.good)
        return len(serving) == PROCESSES

    wait_until(all_seen, patience)
    return serving


def _judge(
    result: Result, log: str, during: List[load.Answer], final: List[load.Answer], serving: Set[str]
) -> None:
    errors, last_errors = (
        sum(answer.status == "500" for answer in answers) for answers in (during, final)
    )
    result.figures.update(
        {
            "answers while watched": load.summary(during),
            f"{FINAL} requests {WATCH_SECONDS:g} s later": load.summary(final),
            "500s in all": errors + last_errors,
            "workers that serve at the end": len(serving),
            "processes": PROCESSES,
        }
    )
    result.excerpts = excerpt(
        log, "MemoryError", "unable to load app", "no python application found", "resilient_wsgi"
    )
    result.check(
        "the operating system refused memory to 2 loads (MemoryError)",
        log.count("MemoryError") >= SHORT_LOADS,
    )
    if result.protected:
        result.check("0 x 500", errors + last_errors == 0)
        result.check(
            "every request is answered 200", all(answer.good for answer in [*during, *final])
        )
        result.check("all 4 workers serve again", len(serving) == PROCESSES)
        result.check(
            "no respawn storm (at most 8 spawns more)",
            log.count("Respawned uWSGI worker") <= SHORT_LOADS + 8,
        )
    else:
        result.check(
            "the log says 'no python application found'", "no python application found" in log
        )
        result.check("a good part of the traffic gets 500", errors > len(during) / 10)
        result.check("it does not heal: 500s still, though memory is there", last_errors > 0)
        result.check(
            "only the 2 workers with an app serve", len(serving) == PROCESSES - SHORT_LOADS
        )
        result.check(
            "the broken workers live on", result.figures["workers restarted after that"] == 0
        )
    result.seen = (
        f"{errors} x 500 in {len(during)} requests; {WATCH_SECONDS:g} s later still {last_errors} "
        f"of {FINAL}; "
        f"{len(serving)} of {PROCESSES} workers serve"
    )
