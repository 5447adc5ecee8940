"""Instances whose upstream hangs for a while, and the figures of it."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence

from lab.measuring import load
from lab.processes import Gunicorn, Nginx, Server, Upstream

ROOT = Path(__file__).parents[2]
APP = "bench.bulkhead.pool_app"
COMMON = {
    "module": APP, "pythonpath": str(ROOT), "master": True, "need-app": True, "listen": 100,
    "disable-logging": True, "enable-threads": True, "harakiri": 30,
}  # fmt: skip
KINDS = ("uwsgi 8 x 1", "uwsgi 2 x 8", "gunicorn 4 x 4", "gunicorn 8 x 1")
WITHOUT, BEFORE, WITH = "without", "without BULKHEAD", "with"
VARIANTS = (WITHOUT, BEFORE, WITH)
PATIENCE, GOOD = 10.0, 2.0


@contextlib.contextmanager
def instance(
    kind: str,
    variant: str,
    upstreams: Mapping[str, str],
    env: Mapping[str, str] = {},
    options: Mapping[str, Any] = {},
) -> Iterator[Any]:
    """Run an instance; yield the port to ask, and the instance."""
    server, workers, _, threads = kind.split()
    variables = {
        "POOL_UPSTREAMS": " ".join(f"{name}={url}" for name, url in upstreams.items()),
        "POOL_PROTECTED": "" if variant == WITHOUT else "1",
        "PYTHONPATH": str(ROOT),
        **({"RESILIENT_WSGI_BULKHEAD": "off"} if variant == BEFORE else {}),
        **env,
    }
    if server == "gunicorn":
        asked = [f"--workers={workers}", f"--threads={threads}", "--timeout=30", "--backlog=100"]
        with Gunicorn(f"{APP}:application", asked, env=variables) as gunicorn:
            time.sleep(1.0)
            yield gunicorn.port, gunicorn
        return
    made_of: Dict[str, Any] = {**COMMON, "processes": int(workers), **options}
    if variant != WITHOUT:
        made_of.setdefault("shared-import", "resilient_wsgi.uwsgi")
    if threads != "1":
        made_of["threads"] = int(threads)
    begin = int(options.get("cheaper", workers))
    with (
        Server(made_of, listen_on="uwsgi", env=variables, ready_count=begin) as made,
        Nginx([made.address], read_timeout=60, connect_timeout=60) as nginx,
    ):
        yield nginx.port, made


class Outage:
    """What came of requests before, during and after an outage."""

    def __init__(self, answers: Sequence[load.Answer], hang: float, recover: float) -> None:
        self.answers, self.hang, self.recover = answers, hang, recover

    def good(self, view: str, start: float, stop: float, within: float = GOOD) -> str:
        """Return how many of the requests sent in between were good."""
        found = [a for a in self.answers if a.path.startswith(view) and start <= a.begin < stop]
        good = sum(a.good and a.end - a.begin < within for a in found)
        share = f" ({100 * good / len(found):.1f} %)" if found else ""
        return f"{good} of {len(found)}{share}"

    def first_good(self) -> float:
        """Return how long after the recovery the first good answer of the callers came."""
        return min(
            (a.end for a in self.answers
             if a.path.startswith("/call") and a.good and a.begin > self.recover),
            default=float("nan"),
        ) - self.recover  # fmt: skip

    def refusal(self) -> float:
        """Return the median of the time to a 503 for callers, from 3 s after the hang on."""
        times = [
            a.end - a.begin
            for a in self.answers
            if a.path.startswith("/call")
            and a.status == "503"
            and self.hang + 3 < a.begin < self.recover
        ]
        return statistics.median(times) if times else float("nan")

    def figures(self, grace: float = 2.0) -> List[str]:
        """Return the cells of a row."""
        return [
            self.good("/other", self.hang + grace, self.recover),
            f"{1000 * self.refusal():.0f} ms",
            f"{self.first_good():.2f} s",
            self.good("/call", self.recover + 1.5, self.recover + 60),
        ]


def outage(
    port: int, upstream: Upstream, rates: Sequence[load.Rate], seconds: float, mode: str = "hang",
    before: float = 3.0, after: float = 6.0,
) -> Outage:  # fmt: skip
    """Have an upstream hang while requests come."""
    for rate in rates:
        load.burst(port, rate.path, 16, 10.0)
    with load.Load(port, rates, patience=PATIENCE, seconds=before + seconds + after) as traffic:
        time.sleep(before)
        upstream.tell(mode)
        hang = time.monotonic()
        time.sleep(seconds)
        upstream.recover()
        recover = time.monotonic()
        time.sleep(after)
        traffic.stop()
    return Outage(traffic.answers, hang, recover)
