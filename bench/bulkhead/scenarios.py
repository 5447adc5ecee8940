"""What can happen to an upstream, and to a pool whose upstreams are well."""

from __future__ import annotations

import math
import random
from typing import Any, Iterator

from .engine import Latency, Scenario, Sim, View


def usual(mean: float, sigma: float = 0.4) -> Latency:
    """Return a lognormal latency."""
    return lambda _now, rng: mean * math.exp(rng.gauss(-sigma * sigma / 2, sigma))


FAST = usual(0.02)


def between(t0: float, t1: float, inside: Latency, outside: Latency = FAST) -> Latency:
    """Return one latency from `t0` to `t1`, and another before and after."""
    return lambda now, rng: (inside if t0 <= now < t1 else outside)(now, rng)


def never(_now: float, _rng: random.Random) -> float:
    """Return the latency of what never answers."""
    return math.inf


def hung(t0: float, t1: float, *, answered: bool = False) -> Latency:
    """Return the latency of what hangs; with `answered` it answers old calls when it recovers."""
    if not answered:
        return between(t0, t1, never)
    return between(t0, t1, lambda now, rng: t1 - now + 0.1 * rng.random())


def flapping(now: float, rng: random.Random) -> float:
    """Return the latency of what hangs for 3 s, and is well for 3 s."""
    phase = (now - 20) % 6
    return 3.02 - phase if 20 <= now < 80 and phase < 3 else FAST(now, rng)


def paused(pause: float, every: float = 10.0) -> Latency:
    """Return the latency of what stands still from time to time, as for garbage collection."""

    def latency(now: float, rng: random.Random) -> float:
        seconds, phase = FAST(now, rng), now % every
        if phase < pause:
            return seconds + pause - phase
        return seconds + pause if phase + seconds > every else seconds

    return latency


def some(share: float, inside: Latency, outside: Latency = FAST) -> Latency:
    """Return a latency of a share of the calls, and another of the rest."""
    return lambda now, rng: (inside if rng.random() < share else outside)(now, rng)


def beside(
    name: str,
    rate: float,
    latency: Latency,
    size: int = 8,
    others: float = 0.0,
    retries: int = 0,
    **more: Any,
) -> Scenario:
    """Return callers of x beside other views, which call y."""
    caller = View("caller", rate, calls=("x",), retries=retries)
    other = View("other", others or 2.5 * size, calls=("y",))
    more = {"processes": size, **more}
    return Scenario(name, [caller, other], {"x": latency, "y": FAST}, **more)


def _together(count: int) -> Scenario:
    names = "xzvw"[:count]
    views = [View("caller", 4, calls=(name,)) for name in names]
    latency = {**dict.fromkeys(names, hung(20, 80)), "y": FAST}
    all_views = [*views, View("other", 20, calls=("y",))]
    return Scenario(f"{count} upstreams hang together", all_views, latency, names)


def _kill_prober(sim: Sim) -> None:
    sim.kill(next((thread.process for thread in sim.threads if thread.upstream == "x"), -1))


def _double(sim: Sim) -> None:
    for _ in range(8):
        sim.spawn()


def hangs() -> Iterator[Scenario]:
    """Yield those in which an upstream hangs."""
    hang = hung(20, 80)
    for threads, processes, each in ((8, 8, 1), (16, 4, 4), (64, 8, 8)):
        for rate in (5, 10, 40):
            for answered in (True, False):
                how = "answered later" if answered else "blackholed"
                yield beside(
                    f"hang {rate}/s, N={threads}, {how}", rate, hung(20, 80, answered=answered),
                    threads, processes=processes, threads=each,
                )  # fmt: skip
    yield beside("hang beside 60 % load", 10, hang, others=96)
    yield beside("hang beside 85 % load", 10, hang, others=136)
    yield beside("hang, 4 threads", 10, hang, 4)
    yield beside("hang, 2 threads", 5, hang, 2)
    yield beside("hang, 1 thread", 2, hang, 1, others=4)
    yield _together(2)
    yield _together(4)
    views = [View("caller", 20, calls=("x",)), View("other", 2, 0.005)]
    yield Scenario("hang of what every view calls", views, {"x": hang})
    yield beside("hang, client retries 3 times", 10, hang, retries=3)
    yield beside("hang, cold start", 10, hung(0, 80), t0=0.0, history={})
    kills = [(20.0 + 2 * n, _kill_prober) for n in range(1, 30)]
    yield beside(
        "hang, a prober is killed every 2 s", 10, hang, 16, processes=4, threads=4, actions=kills
    )
    yield beside("hang, watchdogs 1 s late", 10, hang, late=1.0)
    yield beside("hang, watchdogs at once, stale view", 10, hang, race=True)
    yield beside("hang, deploy doubles workers", 10, hang, actions=[(40.0, _double)])
    for rate in (10, 40):
        yield beside(f"1 of 3 backends hangs, {rate}/s", rate, between(20, 80, some(1 / 3, never)))


def slow() -> Iterator[Scenario]:
    """Yield those in which an upstream is slow, for a while or for good."""
    slow_3s = between(20, 80, usual(3.0))
    yield beside("brownout to 3 s, 10/s", 10, slow_3s)
    yield beside("brownout to 3 s, 40/s, N=64", 40, slow_3s, 64, processes=8, threads=8)
    yield beside("brownout to 3 s, 2 threads", 5, slow_3s, 2)
    for rate in (10, 40):
        yield beside(f"brownout to 300 ms, {rate}/s", rate, between(20, 80, usual(0.3)))
    for rate in (10, 40):
        yield beside(f"flapping every 3 s, {rate}/s", rate, flapping)
    for_good = between(20, math.inf, usual(2.0))
    for rate, minutes in ((3, 75), (1, 30)):
        yield beside(
            f"shift to 2 s for good, {rate}/s, {minutes} min", rate, for_good,
            sick="", end=60.0 * minutes, t1=60.0 * minutes,
        )  # fmt: skip


def _well(name: str, views: Any, latency: Any, **more: Any) -> Scenario:
    return Scenario(f"well: {name}", views, latency, "", **more)


def well() -> Iterator[Scenario]:
    """Yield those in which nothing is to be refused or ended."""
    for threads, processes, each in ((8, 8, 1), (64, 8, 8)):
        for load in (0.5, 1.0, 2.0):
            views = [View("other", load * threads / 0.13, calls=("x",))]
            yield _well(
                f"every view calls x, {load}x, N={threads}", views, {"x": usual(0.1, 0.8)},
                processes=processes, threads=each, history={"x": 0.1},
            )  # fmt: skip
    tail = [View("other", 160, 0.005, ("x",))]
    yield _well("heavy tail (sigma 1.5), 2x", tail, {"x": usual(0.1, 1.5)}, history={"x": 0.3})
    two = [View("other", 100, 0.005, ("x",))]
    bimodal = {"x": some(0.02, usual(6.0))}
    yield _well("98 % 20 ms, 2 % 6 s, 2x", two, bimodal, history={"x": 6.0})
    yield _well("the same, cold", two, bimodal, history={}, end=300.0)
    full = [View("other", 140, calls=("x",))]
    for pause in (0.8, 1.5):
        yield _well(f"GC pause {pause} s every 10 s, 1x", full, {"x": paused(pause)})
    model = [View("other", 1, calls=("l",), timeout=60), View("other", 5)]
    answers = {"l": lambda _now, rng: rng.uniform(20, 40)}
    yield _well("LLM 20-40 s, pool full", model, answers, history={"l": 32.0}, end=300.0)
    yield _well("LLM 20-40 s, cold, own timeout 60 s", model, answers, history={}, end=300.0)
    reports = [View("other", 2, calls=("l",)), View("other", 5)]
    takes = {"l": lambda _now, rng: rng.uniform(8, 12)}
    yield _well("report 8-12 s, cold, pool full", reports, takes, history={}, end=300.0)
    yield _well("cold start, 1x", full, {"x": FAST}, history={})
    begin = [View("other", 20, calls=("x",))]
    yield _well(
        "cold start, first 5 s take 3 s", begin, {"x": between(0, 5, usual(3.0))}, history={}
    )
    single = [*full, View("other", 0.05, calls=("s",))]
    latency = {"x": FAST, "s": usual(12.0, 0.1)}
    yield _well("single slow calls (12 s), 1x", single, latency, history={"x": 0.02})
    yield _well("deploy doubles workers, 1x", full, {"x": FAST}, actions=[(30.0, _double)])


def scenarios() -> Iterator[Scenario]:
    """Yield all."""
    yield from hangs()
    yield from slow()
    yield from well()
