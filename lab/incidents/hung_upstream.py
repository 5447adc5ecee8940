"""A third party hangs, and the whole service is gone; and a burst that a service goes on working
for when no client waits any more.

nginx -> uWSGI with a fixed number of processes. Three tenths of the requests call the upstream,
which stops answering for a while.
"""

from __future__ import annotations

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, List

from lab import shop
from lab.measuring import load
from lab.measuring.listen_queue import connections_to, tcp_depth, unix_depth
from lab.measuring.sampler import Sampler, Series, blocked_threads
from lab.processes import Nginx, Server, Upstream, wait_until
from lab.rendering.result import Result, excerpt

if TYPE_CHECKING:
    from lab.measuring.load import Answer

INCIDENT = "hung-upstream"
PROCESSES = 8
HARAKIRI_SECONDS = 5
NGINX_SECONDS = 2.0
HEALTHY_SECONDS = 1.5
OUTAGE_SECONDS = 8.0
AFTER_SECONDS = 12.0
RATES = (
    load.Rate("/offers", 9),
    load.Rate("/", 12),
    load.Rate("/products", 8),
    load.Rate("/buy", 1),
)

BURST = 40
WORK_SECONDS = 0.5


def run(protected: bool) -> Result:
    """Run the outage and, beside it on other servers, the burst, which is mere waiting."""
    result = Result(INCIDENT, protected)
    with ThreadPoolExecutor(1) as beside:
        burst = beside.submit(_burst, protected)
        _outage(result)
        result.add(burst.result())
    _say(result)
    return result


def _outage(result: Result) -> None:
    protected = result.protected
    options = shop.options(
        protected=protected, processes=PROCESSES, harakiri=HARAKIRI_SECONDS, listen=64,
        chmod_socket="666",
        # a second socket, of the other family, with the same workers behind it: each fails in its
        # own way when full
        socket="%duwsgi.sock",  # %d is the folder of the ini file
    )  # fmt: skip
    with (
        Upstream() as upstream,
        shop.environment(SHOP_UPSTREAM_URL=upstream.url, SHOP_RESILIENT=str(int(protected))) as env,
        Server(options, listen_on="uwsgi", env=env) as server,
        Nginx(
            [server.address, server.socket_path],
            read_timeout=NGINX_SECONDS,
            connect_timeout=NGINX_SECONDS,
        ) as nginx,
    ):
        for rate in RATES:  # the first request of a worker is slow for reasons of its own
            load.burst(nginx.port, rate.path, PROCESSES * 2, 10.0)
        with (
            Sampler(
                lambda: tcp_depth(server.port) + unix_depth(server.socket_path).waiting,
                lambda: blocked_threads(server.workers()),
                # each call of the shop has a connection of its own
                lambda: connections_to(upstream.port),
            ) as sampler,
            load.Load(nginx.port, RATES, patience=NGINX_SECONDS + 1) as traffic,
        ):
            time.sleep(HEALTHY_SECONDS)
            hang = sampler.begin + sampler.mark("upstream hangs")
            upstream.tell("hang")
            time.sleep(OUTAGE_SECONDS)
            recover = sampler.begin + sampler.mark("upstream recovers")
            upstream.recover()
            wait_until(lambda: _steady(traffic.answers, recover), AFTER_SECONDS)
            traffic.stop()
            sampler.add_answers(traffic.answers)
        result.series = sampler.series
        _outage_figures(result, traffic.answers, sampler.begin, hang, recover)
        _outage_log(result, server.log(), nginx.log())


def _steady(answers: List[Answer], since: float) -> bool:
    """Say whether good answers have come for two seconds."""
    first = _first_good(answers, since)
    return first is not None and time.monotonic() - first > 2.0


def _first_good(answers: List[Answer], since: float) -> float | None:
    """Return when the first good answer came to a request that was sent after the moment given."""
    return min(
        (answer.end for answer in answers if answer.good and answer.begin > since), default=None
    )


def _outage_figures(
    result: Result, answers: List[Answer], begin: float, hang: float, recover: float
) -> None:
    during = [answer for answer in answers if hang + 1.0 < answer.begin < recover]
    others = [answer for answer in during if answer.path != "/offers"]
    callers = [answer for answer in during if answer.path == "/offers"]
    good = sum(answer.good for answer in others)
    first = _first_good(answers, recover)
    offers = _first_good([answer for answer in answers if answer.path == "/offers"], recover)
    result.figures.update(
        {
            "others answered during the outage": f"{good} of {len(others)}",
            "share of others answered": round(good / max(1, len(others)), 3),
            "offers during the outage": load.summary(callers),
            "all others, by status": load.summary(others),
            "first good answer after recovery, s": None
            if first is None
            else round(first - recover, 2),
            "first good offers after recovery, s": None
            if offers is None
            else round(offers - recover, 2),
            "deepest queue": max((depth for _, depth in result.series.queue), default=0),
            "threads that waited for the upstream, 3 s after the hang to its end": _held(
                result.series, hang - begin + 3, recover - begin
            ),
        }
    )
    if result.protected:
        result.check(
            "views that do not call the upstream keep answering (99 %)", good >= 0.99 * len(others)
        )
        # what came just before the recovery may have reached the upstream just after it
        failed = [answer.status for answer in callers if not answer.good]
        # one call at a time is left to find out whether the upstream is slow or dead: nginx does not
        # wait for it
        scouts = OUTAGE_SECONDS / NGINX_SECONDS
        result.check(
            "the app itself answers for the upstream: 503, no 502, but for one call at a time",
            set(failed) <= {"503", "504"} and failed.count("504") <= scouts,
        )
        result.check(
            "first good answer within 2 s of the recovery",
            first is not None and first - recover <= 2.0,
        )
        result.check("and the first good offers", offers is not None and offers - recover <= 2.0)
    else:
        result.check(
            "views that do not call the upstream are gone too (under half answered)",
            good < 0.5 * len(others),
        )


def _held(series: Series, since: float, until: float) -> str:
    counts = sorted(count for at, count in series.held if since <= at < until)
    return f"{statistics.median(counts):g} (at most {counts[-1]}) of {PROCESSES}" if counts else ""


def _outage_log(result: Result, uwsgi: str, nginx: str) -> None:
    harakiris = len(re.findall("HARAKIRI ON WORKER", uwsgi))
    result.figures["harakiris"] = harakiris
    if result.protected:
        result.check("no harakiri", harakiris == 0)
        return
    texts = {
        "HARAKIRI ON WORKER": uwsgi, "Respawned uWSGI worker": uwsgi, "uWSGI listen queue of "
                                                                      "socket": uwsgi,
        "Broken pipe": uwsgi, "upstream timed out": nginx,
        "Resource temporarily unavailable": nginx,
    }  # fmt: skip
    for pattern, text in texts.items():
        result.check(f"the log says {pattern!r}", pattern in text)
        result.excerpts += excerpt(text, pattern)
    statuses = {status for _, status in result.series.answers}
    result.check("nginx answers 504 and 502", {"502", "504"} <= statuses)


def _burst(protected: bool) -> Result:
    """40 requests at once for one process that needs half a second for each; nginx gives up after 2
    s.
    """
    result = Result(INCIDENT, protected)
    options = shop.options(protected=protected, processes=1)
    with (
        shop.environment(
            SHOP_SLOW_SECONDS=str(WORK_SECONDS), SHOP_RESILIENT=str(int(protected))
        ) as env,
        Server(options, listen_on="uwsgi", env=env) as server,
        Nginx([server.address], read_timeout=NGINX_SECONDS) as nginx,
    ):
        load.get(nginx.port, "/")
        answers = load.burst(nginx.port, "/slow", BURST, patience=10.0)
        statuses = load.by_status(answers)
        wait = load.poll_until_good(nginx.port, "/", deadline=40.0, patience=10.0)
        worked = len(re.findall(r"slow: work of", server.log()))
    good = statuses.get("200", 0)
    result.figures.update(
        {
            "burst of 40, by status": load.summary(answers),
            "burst: next good answer, s": None if wait is None else round(wait, 1),
            "burst: worked in full for clients that are gone": worked - good,
        }
    )
    if protected:
        result.check("burst: next good answer within 2 s", wait is not None and wait <= 2.0)
        # what is under way when nginx gives up cannot be known to be in vain; 2 s are just when one
        # ends and the next begins
        result.check("burst: no request is begun whose client is gone", worked - good <= 2)
    else:
        result.check("burst: most get 504", statuses.get("504", 0) > BURST / 2)
        result.check("burst: over 10 s until the next good answer", wait is None or wait > 10.0)
        result.check("burst: it works in full for clients that are gone", worked - good > BURST / 2)
    return result


def _say(result: Result) -> None:
    figures = result.figures
    recovery, burst = (
        figures["first good answer after recovery, s"],
        figures["burst: next good answer, s"],
    )
    result.seen = (
        f"{figures['harakiris']} harakiris; other views answered "
        f"{figures['others answered during the outage']} "
        f"during the outage; good again {recovery} s after it. Burst: next good answer after "
        f"{burst} s, "
        f"{figures['burst: worked in full for clients that are gone']} requests worked on for clients that are gone"
    )
