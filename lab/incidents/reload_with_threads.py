"""Reload and stop hang because the app has a background thread.

5 processes, 2 threads, and the wsgi.py of the incident: a non-daemon thread that is never asked to
stop. Twice: with the app loaded before the fork (the thread is stale in the workers) and with
lazy-apps (the thread lives in each worker).
"""

from __future__ import annotations

import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Dict, List

from lab import shop
from lab.measuring import load
from lab.measuring.listen_queue import tcp_depth
from lab.measuring.sampler import Sampler, blocked_threads
from lab.processes import Server, wait_until
from lab.rendering.result import Result, excerpt

if TYPE_CHECKING:
    from lab.processes.uwsgi import Option

INCIDENT = "reload-with-threads"
PROCESSES = 5
MERCY_SECONDS = 8
HEALTHY_SECONDS = 1.0
START_SECONDS = 30.0  # five times Django on a busy machine
# 2 s are promised, and 0.5 to 1.1 s were measured; the rest is for a busy machine: uWSGI's master
# looks once a second, and five processes with Django in them are finalized on what cores there are.
# A hang lasts until mercy ends, wherever it runs
LIMIT_SECONDS = 5.0
VARIANTS: Dict[str, Dict[str, Option]] = {"preforking": {}, "lazy-apps": {"lazy_apps": True}}
JOINING = ("futex_do_wait", "futex_wait_queue", "futex_wait_queue_me")
ACCEPTING = ("ep_poll", "do_epoll_wait")


def run(protected: bool) -> Result:
    """Reload and stop both variants; the time series is that of the first."""
    result = Result(INCIDENT, protected)
    runs = [_Run(result, variant, options) for variant, options in VARIANTS.items()]
    for each in runs:
        each.start()
        if (
            protected
            # without the library it is mere waiting, and may wait for both; with it it is quick, and would be slowed
            # down by the other
        ):
            each.join()
    for each in runs:
        each.join()
        if each.failure:
            raise each.failure
    _judge(result, runs)
    return result


class _Run(threading.Thread):
    """One variant: reload, then stop."""

    def __init__(self, result: Result, variant: str, options: Dict[str, Option]) -> None:
        super().__init__(name=variant)
        self.result = result
        self.variant = variant
        self.options = shop.options(
            protected=result.protected, processes=PROCESSES, threads=2, enable_threads=True,
            die_on_term=True,
            worker_reload_mercy=MERCY_SECONDS, **options,
        )  # fmt: skip
        self.reload_seconds = self.serves_again_seconds = self.stop_seconds = 0.0
        self.log = ""
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with (
                shop.environment(SHOP_BACKGROUND_THREAD="1") as env,
                Server(self.options, env=env) as server,
            ):
                self._watch(server)
                self.log = server.log()
        except BaseException as error:
            self.failure = error

    def _watch(self, server: Server) -> None:
        load.burst(server.port, "/", PROCESSES * 2, 10.0)
        with (
            Sampler(lambda: tcp_depth(server.port), lambda: _joining(server.workers())) as sampler,
            load.Load(server.port, [load.Rate("/", 20)], patience=START_SECONDS) as traffic,
        ):
            time.sleep(HEALTHY_SECONDS)
            sampler.mark("reload")
            self.reload_seconds = self._reload(server)
            sampler.mark("serves again")
            time.sleep(HEALTHY_SECONDS)
            sampler.mark("stop")
            self.stop_seconds = server.stop(signal.SIGTERM, patience=START_SECONDS)
            sampler.mark("gone")
            traffic.stop()
            sampler.add_answers(traffic.answers)
        if self.variant == "preforking":
            self.result.series = sampler.series

    def _reload(self, server: Server) -> float:
        """Send SIGHUP and return how long it took until the last old worker was gone; then wait
        until the new ones serve.
        """
        old = set(server.workers())
        begin = time.monotonic()
        server.signal(signal.SIGHUP)
        if not wait_until(lambda: not old & set(server.workers()), START_SECONDS):
            raise server.error("still has old workers")
        seconds = time.monotonic() - begin
        server.wait_for_log(
            r"^spawned uWSGI worker \d+|^Respawned uWSGI worker \d+",
            START_SECONDS,
            count=PROCESSES * 2,
        )
        if (
            load.poll_until_good(server.port, "/", deadline=START_SECONDS, patience=START_SECONDS)
            is None
        ):
            raise server.error("does not answer after the reload")
        self.serves_again_seconds = time.monotonic() - begin
        return seconds


def _joining(pids: List[int]) -> int:
    """Count the threads that wait for another to end: those in a lock of workers in which none
    waits for a request.

    In a worker that serves, all threads but one are in a lock too: the one that waits for the next
    request has it.
    """
    return sum(
        blocked_threads([pid], JOINING) for pid in pids if not blocked_threads([pid], ACCEPTING)
    )


def _judge(result: Result, runs: List[_Run]) -> None:
    seen = []
    for run in runs:
        no_mercy = len(re.findall("NO MERCY", run.log))
        reload_seconds, stop_seconds = round(run.reload_seconds, 1), round(run.stop_seconds, 1)
        result.figures[f"{run.variant}: reload, s"] = reload_seconds
        result.figures[f"{run.variant}: serves again, s"] = round(run.serves_again_seconds, 1)
        result.figures[f"{run.variant}: stop, s"] = stop_seconds
        result.figures[f"{run.variant}: NO MERCY lines"] = no_mercy
        seen.append(
            f"{run.variant}: reload {reload_seconds} s, stop {stop_seconds} s, {no_mercy} x NO "
            "MERCY"
        )
        result.excerpts += excerpt(run.log, "NO MERCY", "refresh-prices")
        if result.protected:
            result.check(
                f"{run.variant}: reload within 2 s, and three for a busy machine",
                run.reload_seconds <= LIMIT_SECONDS,
            )
            result.check(
                f"{run.variant}: stop within 2 s, and three for a busy machine",
                run.stop_seconds <= LIMIT_SECONDS,
            )
            result.check(f"{run.variant}: no NO MERCY", no_mercy == 0)
            result.check(
                f"{run.variant}: the log names the thread that did not stop",
                "refresh-prices" in run.log,
            )
        else:
            least = MERCY_SECONDS - 1.5  # mercy is counted in whole seconds
            result.check(
                f"{run.variant}: reload takes the whole mercy", run.reload_seconds >= least
            )
            result.check(f"{run.variant}: stop takes the whole mercy", run.stop_seconds >= least)
            result.check(f"{run.variant}: NO MERCY for the workers", no_mercy >= PROCESSES)
    result.seen = "; ".join(seen)
