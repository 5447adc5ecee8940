"""Overload simulated: the rule of the library beside none, and beside one that knows every wait.

`python -m bench.overload.sim [part of a scenario's name] [seeds]`. Workers take requests first
come, first served, from a listen queue; clients leave when their patience is over. The rule is the
library's own code with a clock that is turned, so a change of it is judged in a minute. In an
overload "good" is the share of the capacity spent on answers in time, from patience + 3 s on; else
the share of the requests. What was learned on real servers is in docs/measurements/overload.md.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict, deque
from heapq import heappop, heappush
from random import Random
from typing import Any, Callable, Dict, List, Mapping, Tuple

from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.state import DEPTH, State, bytes_for

CHEAP = 50e-6  # what a 503 or a skipped request costs
PEOPLE = ("client", "hasty", "patient")
SHED_SHARE = 0.95
SAMPLED_ONE_IN = 16  # of the requests that found no queue
NEVER = 1e9
LATER = 1e5  # no clock begins at 0


class Request:
    """One try of a client."""

    def __init__(
        self,
        arrived: float,
        patience: float,
        kind: str,
        service: float,
        first: int = -1,
        tries: int = 0,
    ) -> None:
        self.first = int(arrived) if first < 0 else first  # the second of the first try
        self.arrived, self.patience, self.leaves = arrived, patience, arrived + patience
        self.kind, self.tries, self.service = kind, tries, service
        self.state = "waits"
        self.begun = self.waited = 0.0
        self.tracked = True


class Nothing:
    """No rule: every request is worked on."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim

    def pick(self, _now: float, _request: Request) -> str:
        """Return what becomes of a request that is picked up."""
        return "run"

    def done(self, now: float, request: Request, *, gone: bool) -> None:
        """Note that an answer is ready."""


class SkipGone(Nothing):
    """Requests whose client is gone at pick-up are skipped."""

    def pick(self, now: float, request: Request) -> str:
        return "dead" if now >= request.leaves else self.judge(now, request)

    def judge(self, _now: float, _request: Request) -> str:
        """Return what becomes of a request whose client is there."""
        return "run"


class Known(SkipGone):
    """Known waits and a target of 0.3 s: a header of the router, and a setting."""

    target = 0.3

    def __init__(self, sim: Sim) -> None:
        super().__init__(sim)
        self.until, self.least, self.over = -1.0, NEVER, False

    def judge(self, now: float, request: Request) -> str:
        waited = now - request.arrived
        if now >= self.until:
            fresh = now < self.until + 1
            self.over = fresh and self.target < self.least < NEVER
            self.least, self.until = NEVER, now + 1
        self.least = min(self.least, waited)
        return "shed" if self.over and waited > 2 * self.target else "run"


class Learned(SkipGone):
    """The library's rule."""

    def __init__(self, sim: Sim) -> None:
        super().__init__(sim)
        state = State(memoryview(array("d", bytes(bytes_for(1)))), 1)
        room = sim.s["limit"]
        self.queue = Queue(state, lambda: len(sim.queue), lambda: bool(sim.queue), room)
        self.credit = 20 * SHED_SHARE
        self.number = 0

    def pick(self, now: float, request: Request) -> str:
        self.number += 1
        waited = self.queue.picked_up(now + LATER)
        request.waited = waited or 0.0
        request.tracked = waited is not None and (waited > 0 or not self.number % SAMPLED_ONE_IN)
        if waited is not None and request.tracked:
            self.queue.tolerance.picked(waited, dead=now >= request.leaves)
        return super().pick(now, request)

    def judge(self, _now: float, request: Request) -> str:
        late = request.waited > self.queue.limit and self.queue.state.cells[DEPTH]
        if late and self.credit >= 1:
            self.credit -= 1
            return "shed"
        self.credit = min(20, self.credit + SHED_SHARE / (1 - SHED_SHARE))
        return "run"

    def done(self, now: float, request: Request, *, gone: bool) -> None:
        if request.tracked:
            self.queue.tolerance.answered(request.waited, now - request.begun, vain=gone)


class Sim:
    """One run of a scenario under a rule."""

    def __init__(
        self, policy: Callable[[Sim], Nothing], scenario: Mapping[str, Any], seed: int
    ) -> None:
        self.s = {**DEFAULTS, **scenario}
        self.random = Random(seed)
        self.queue: deque[Request] = deque()
        self.events: List[Tuple[float, int, str, Request | None]] = []
        self.order = 0
        self.useful: Dict[int, float] = defaultdict(float)
        self.vain: Dict[int, float] = defaultdict(float)
        self.count: Dict[Tuple[int, str, str], int] = defaultdict(int)
        self.idle: int = self.s["workers"]
        self.policy = policy(self)

    def push(self, at: float, what: str, request: Request | None = None) -> None:
        self.order += 1
        heappush(self.events, (at, self.order, what, request))

    def run(self) -> Sim:
        s, (stall, wake) = self.s, self.s["stall"]
        self.push(0, "arrive")
        self.push(wake, "wake")
        while self.events[0][0] < s["loads"][-1][0]:
            now, _, what, request = heappop(self.events)
            if what == "done" and stall <= now < wake:
                self.push(now + wake - stall, "done", request)
            else:
                getattr(self, f"on_{what}")(now, request)
            while self.idle and self.queue and not stall <= now < wake:
                self.pick(now, self.queue.popleft())
        return self

    def on_wake(self, _now: float, _request: Request | None) -> None:
        """The stall is over."""

    def on_arrive(self, now: float, _request: Request | None) -> None:
        load = next(load for until, load in self.s["loads"] if now < until)
        self.push(
            now + self.random.expovariate(load * self.s["workers"] / self.s["mean"]), "arrive"
        )
        self.enter(now, Request(now, *self.s["client"](self.random, now)))

    def on_again(self, now: float, r: Request) -> None:
        self.enter(now, Request(now, r.patience, r.kind, r.service, r.first, r.tries + 1))

    def on_leave(self, now: float, request: Request) -> None:
        if request.state == "waits":
            self.retry(now, request)

    def on_done(self, now: float, request: Request | None) -> None:
        self.idle += 1
        if request is not None:
            gone = now >= request.leaves
            self.policy.done(now, request, gone=gone)
            took = now - request.begun
            to = self.vain if gone else self.useful
            to[int(now)] += took * (gone or request.kind != "attack")
            self.end(now, request, "vain" if gone else "good")

    def enter(self, now: float, request: Request) -> None:
        self.count[int(now), request.kind, "all"] += 1
        self.count[int(now), request.kind, "asked"] += not request.tries
        if len(self.queue) >= self.s["limit"]:
            self.end(now, request, "refused")
            return
        self.queue.append(request)
        if self.s["retry"] and request.tries < 2:
            self.push(request.leaves, "leave", request)

    def pick(self, now: float, request: Request) -> None:
        self.idle, request.begun = self.idle - 1, now
        verdict = self.policy.pick(now, request)
        if verdict == "run":
            self.push(now + request.service * self.s["slower"](now), "done", request)
        else:
            self.end(now, request, verdict)
            self.push(now + CHEAP, "done")

    def end(self, now: float, request: Request, state: str) -> None:
        request.state = state
        self.count[int(request.arrived), request.kind, state] += 1
        self.count[request.first, request.kind, "answered"] += state == "good"
        if state in ("shed", "refused") and now < request.leaves:
            self.retry(now, request)

    def retry(self, now: float, request: Request) -> None:
        if self.s["retry"] and request.tries < 2 and request.kind != "attack":
            pause = {"now": 0.02, "backoff": 2**request.tries, "after": 1}[self.s["retry"]]
            self.push(now + pause * self.random.uniform(0.5, 1.5), "again", request)

    def results(self) -> List[float]:
        """Return percentages (good, in vain, shed, good of hasty clients, of patient ones) and the
        seconds until all was well.
        """
        span = range(*self.s["look"])
        time, over, last = self.s["workers"] * len(span) / 100, self.s["over"], self.s["loads"][-1]
        recovered = 0
        for t in range(over or 0, int(last[0]) - 5 if over else 0):
            if self.number([t], "answered", *PEOPLE) < 0.9 * self.number([t], "asked", *PEOPLE):
                recovered = t + 1 - over
        good = (
            sum(self.useful[t] for t in span) / time if over else self.share(span, "good", *PEOPLE)
        )
        vain = sum(self.vain[t] for t in span) / time
        shares = [
            self.share(span, *of)
            for of in (("shed", *PEOPLE), ("good", "hasty"), ("good", "patient"))
        ]
        return [good, vain, *shares, recovered]

    def number(self, seconds: Any, state: str, *kinds: str) -> int:
        return sum(self.count.get((t, kind, state), 0) for t in seconds for kind in kinds)

    def share(self, span: range, state: str, *kinds: str) -> float:
        return 100 * self.number(span, state, *kinds) / max(1, self.number(span, "all", *kinds))


def constant(_random: Random) -> float:
    return 0.1


def exponential(random: Random) -> float:
    return random.expovariate(10)


def two_classes(random: Random) -> float:
    return 1.0 if random.random() < 0.1 else 0.01


def clients(*choices: Any, work: Callable[[Random], float] = constant) -> Any:
    """Return clients of these shares, patiences and kinds."""
    weights, kinds = [c[0] for c in choices], [c[1:] for c in choices]
    return lambda random, _now: (*random.choices(kinds, weights)[0], work(random))


def alike(patience: float, work: Callable[[Random], float] = constant) -> Any:
    return clients((1, patience, "client"), work=work)


def attacked(
    delay: float, load: float, work: Callable[[Random], float] = constant, share: float = 0.3
) -> Dict[str, Any]:
    who = clients((share, delay, "attack"), (1 - share, 2, "client"), work=work)
    return {"client": who, "loads": [(180, load)], "look": (5, 175), "over": None}


def normally(
    seconds: float, load: float, patience: float, work: Callable[[Random], float]
) -> Dict[str, Any]:
    return {
        "client": alike(patience, work),
        "loads": [(seconds, load)],
        "look": (0, int(seconds) - 60),
        "over": None,
    }


STEPS = {x: [(10, 0.5), (70, x), (90, 0.5)] for x in (1.2, 2, 4, 10)}
DEFAULTS: Dict[str, Any] = {
    "workers": 4, "limit": 1024, "mean": 0.1, "client": alike(2), "retry": None,
    "stall": (NEVER, NEVER), "slower": lambda _now: 1, "loads": STEPS[2], "look": (15, 70),
    "over": 70,
}  # fmt: skip
CHANGED = {
    "client": lambda r, now: (2 if now < 60 else 60, "client", r.expovariate(10)),
    "look": (100, 340), "over": None,
    "loads": [(10, 0.5), (60, 2), (100, 0.3), (400, 0.95)],
}  # fmt: skip
TIRED = {
    "client": lambda _r, now: (10 if now < 60 else 1.5, "client", 0.1),
    "loads": [(10, 0.5), (110, 2), (130, 0.5)], "look": (65, 110), "over": 110,
}  # fmt: skip
SLOWER = {
    "slower": lambda now: 1 if not 20 < now < 80 else min(3, 1 + (now - 20) / 10),
    "loads": [(110, 0.6)], "look": (40, 80), "over": 80,
}  # fmt: skip
ROUTES = {
    "client": lambda r, _: (10, "patient", 1.0) if r.random() < 0.1 else (1, "hasty", 0.01),
    "mean": 0.109,
}
BURST = [(20, 0.5), (20.3, 10), (40, 0.5)]
BURST_AFTER = [(10, 0.5), (40, 2), (60, 0.5), (60.3, 10), (90, 0.5)]
# bursts of so many times the capacity out of nothing: nobody comes between them
LONELY_BURSTS = [
    step for t in range(10, 100, 10) for step in ((t - 0.3, 1e-6), (t, 10))
] + [(100, 1e-6)]  # fmt: skip
SCENARIOS: Dict[str, Dict[str, Any]] = {
    **{f"{x} x, patience {p} s": {"client": alike(p), "loads": STEPS[x], "look": (13 + p, 70)}
       for p in (1, 2, 5, 10) for x in (1.2, 2, 4)},
    "10 x, patience 2 s": {"loads": STEPS[10]},
    **{f"{x} x, 2 s, exponential": {"client": alike(2, exponential), "loads": STEPS[x]}
       for x in (2, 4)},
    **{f"{x} x, {p} s, 10 ms or 1 s": {"client": alike(p, two_classes), "loads": STEPS[x],
                                       "mean": 0.109, "look": (13 + p, 70)}
       for x, p in ((2, 2), (4, 2), (2, 5))},
    **{f"1.2 x, {p} s, 10 ms or 1 s": {"client": alike(p, two_classes), "mean": 0.109,
                                       "loads": [(10, 0.5), (110, 1.2), (130, 0.5)],
                                       "look": (20 + 6 * p, 110), "over": 110}
       for p in (2, 5)},
    **{f"{x} x, 10 ms: 1 s; 1 s: 10 s": {**ROUTES, "loads": STEPS[x]} for x in (2, 4)},
    "2 x, 1 s, 400 requests/s": {"client": lambda _r, _: (1, "client", 0.01), "mean": 0.01},
    "2 x, 10 s, 1 worker, 1 request/s": {"client": lambda _r, _: (10, "client", 1), "mean": 1,
                                         "workers": 1, "look": (35, 70)},
    "2 x, 2 s, queue of 100": {"limit": 100},
    "2 x, 2 s, 32 threads": {"workers": 32, "client": alike(2, exponential)},
    **{f"{x} x, half 1 s, half 10 s": {"client": clients((1, 1, "hasty"), (1, 10, "patient")),
                                       "loads": STEPS[x]} for x in (2, 4)},
    "2 x, 15 % 1 s, 85 % 5 s": {"client": clients((15, 1, "hasty"), (85, 5, "patient")),
                                "look": (20, 70)},
    "2 x, 5 % 0.3 s, rest 30 s": {"client": clients((5, 0.3, "hasty"), (95, 30, "patient"))},
    **{f"2 x, 2 s, retry {how}": {"retry": how} for how in ("now", "backoff", "after")},
    "2 x for 10 min, 2 s": {"loads": [(10, 0.5), (610, 2), (640, 0.5)], "look": (15, 610),
                            "over": 610},
    "2 x, 10 s clients, then 1.5 s": TIRED,
    "service x 3 slower at 0.6": SLOWER,
    **{f"stall of 3 s at 0.8, retry {how}": {"retry": how, "stall": (30, 33), "loads": [(90, 0.8)],
                                             "look": (38, 90), "over": 33}
       for how in ("now", "backoff", "after")},
    "2 x, 30 % hang up at once": {"client": clients((3, 0, "attack"), (7, 2, "client"))},
    "burst of 10 x for 0.3 s at 0.5": {"loads": BURST, "look": (1, 39), "over": None},
    "the same after an overload": {"loads": BURST_AFTER, "look": (45, 89), "over": None},
    "bursts of 10 x for 0.3 s out of nothing": {"loads": LONELY_BURSTS, "look": (0, 99),
                                                "over": None},
    **{f"30 % hang up after {d} s at {x}": attacked(d, x) for x in (0.5, 0.9) for d in (0, 0.1)},
    "40 % typeahead after 0.2 s at 0.5": attacked(0.2, 0.5, exponential, 0.4),
    "40 % at once at 1.55; rest 20 s, exp.": {
        "client": clients((4, 0, "attack"), (6, 20, "client"), work=exponential),
        "loads": [(300, 1.55)], "look": (0, 270), "over": None},
    **{f"30 % after {d} s at 0.95, exp.": attacked(d, 0.95, exponential) for d in (0, 0.1, 0.6)},
    "60 s clients at 0.95, exponential": normally(400, 0.95, 60, exponential),
    "2 s clients at 0.95, exponential": normally(400, 0.95, 2, exponential),
    "5 % 0.3 s, rest 30 s, at 0.95, exp.": {
        "client": clients((5, 0.3, "hasty"), (95, 30, "patient"), work=exponential),
        "loads": [(1500, 0.95)], "look": (0, 1400), "over": None},
    "2 s at 2 x; then 60 s at 0.95": CHANGED,
}  # fmt: skip
POLICIES = (Nothing, SkipGone, Known, Learned)


def row(scenario: Mapping[str, Any], policy: Callable[[Sim], Nothing], seeds: int) -> str:
    """Return the cell of a scenario under a rule."""
    runs = [Sim(policy, scenario, seed).run().results() for seed in range(seeds)]
    good, vain, shed, hasty, patient, _ = (sum(column) / seeds for column in zip(*runs))
    late = f" {max(run[5] for run in runs):2.0f}" if {**DEFAULTS, **scenario}["over"] else ""
    both = f" {hasty:.0f}:{patient:.0f}" if hasty + patient else ""
    return f"{good:5.1f} {vain:4.1f} {shed:4.1f}{late}{both}"


def main(part: str = "", seeds: str = "2", *only: str) -> None:
    """Print the table."""
    policies = [p for p in POLICIES if not only or p.__name__ in only]
    heads = "".join(f"{policy.__name__:>22}" for policy in policies)
    print(f"{'good / in vain / shed %, recovery s':42}{heads}")
    for name, scenario in SCENARIOS.items():
        if part in name:
            cells = "".join(f"{row(scenario, policy, int(seeds)):>22}" for policy in policies)
            print(f"{name:42}{cells}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
