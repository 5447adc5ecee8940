"""What is compared: the client's limits alone, strict tickets, a circuit breaker, fair share."""

from __future__ import annotations

import math
from collections import deque
from typing import Deque, Dict, List, Tuple

from resilient_wsgi.bulkhead import rule
from resilient_wsgi.bulkhead.rule import Call, Rule
from resilient_wsgi.bulkhead.share import LATE
from resilient_wsgi.bulkhead.state import Pool, Upstream

from .engine import READ, TICK, Policy, Sim


class Tickets(Policy):
    """A strict share: half of the threads for each upstream, always."""

    def admits(self, upstream: str) -> bool:
        return len(self.sim.calls(upstream)) < math.ceil(len(self.sim.threads) / 2)


class Breaker(Policy):
    """Of the whole instance: opens for 5 s if half of at least 10 calls in 10 s failed or took more
    than 1 s; then lets one probe pass.
    """

    def start(self, sim: Sim) -> None:
        super().start(sim)
        self._calls: Dict[str, Deque[Tuple[float, bool]]] = {}
        self._until: Dict[str, float] = {}
        self._probes: Dict[str, bool] = {}

    def admits(self, upstream: str) -> bool:
        if upstream not in self._until:
            return True
        if self.sim.now < self._until[upstream] or self._probes.get(upstream):
            return False
        self._probes[upstream] = True
        return True

    def ended(self, upstream: str, seconds: float, outcome: str) -> None:
        now, bad = self.sim.now, outcome != "answer" or seconds > 1.0
        calls = self._calls.setdefault(upstream, deque())
        calls.append((now, bad))
        while calls[0][0] < now - 10:
            calls.popleft()
        if upstream not in self._until:
            if len(calls) >= 10 and sum(b for _, b in calls) * 2 >= len(calls):
                self._until[upstream] = now + 5
        elif self._probes.pop(upstream, None):
            self._until[upstream] = now + 5
            if not bad:
                del self._until[upstream]
                calls.clear()


class Fair(Policy):
    """The rule of the library, with a view of the simulated pool."""

    retries = False

    def start(self, sim: Sim) -> None:
        super().start(sim)
        self.rule = Rule(Pool([0.0] * Pool.SIZE))
        self._upstreams: Dict[str, Upstream] = {}
        for name, seconds in sim.scenario.history.items():
            self._upstream(name).history.teach(seconds)

    def _upstream(self, name: str) -> Upstream:
        found = self._upstreams.get(name)
        if found is None:
            found = self._upstreams[name] = Upstream.alone(len(self._upstreams), name)
            self.rule.upstreams[found.number] = found
        return found

    def admits(self, upstream: str) -> bool:
        return self.rule.admits(self._upstream(upstream), self, self.sim.now)

    def ended(self, upstream: str, seconds: float, outcome: str) -> None:
        known = self._upstream(upstream)
        if outcome == "answer":
            self.rule.learn(known, seconds)
            self.rule.answered(known, seconds, self.sim.now)
        else:
            self.rule.failed(known, ended=outcome == "reclaimed")

    def tick(self, process: int) -> None:
        self._process = process
        self.rule.late = max(0.0, self.sim.scenario.late + TICK - LATE)
        for call in self.rule.look(self, self.sim.now).ended:
            self.sim.end_call(self.sim.threads[call.place])

    @property
    def count(self) -> int:
        return len(self.sim.threads)

    def idle(self) -> int:
        return len(self.sim.free)

    def queued(self) -> bool:
        return bool(self.sim.queue)

    def held(self, upstream: Upstream) -> int:
        return len(self.sim.calls(upstream.name))

    def oldest(self, upstream: Upstream) -> float:
        return min((t.since for t in self.sim.calls(upstream.name)), default=math.inf)

    def calls(self) -> List[Call]:
        found = [
            Call(
                self._upstream(thread.upstream),
                thread.since,
                self._patience(thread.upstream, thread.asked),
                place,
                thread.process == self._process,
            )
            for place, thread in enumerate(self.sim.threads)
            if thread.upstream is not None
        ]
        return sorted(found, key=lambda call: call.since)

    def _patience(self, upstream: str, asked: float) -> float:
        known = self._upstream(upstream).history.usual
        return asked if asked > READ and not known else 0.0


def change(constant: str, value: float) -> None:
    """Give the rule another constant."""
    if not hasattr(rule, constant):
        raise SystemExit(f"the rule has no constant {constant}")
    setattr(rule, constant, value)
