"""A pool of WSGI threads and its upstreams, in simulated time: discrete events, pure Python.

Processes x threads take requests in turn from a listen queue; a request computes, then makes its
outbound calls one after the other. The watchdog of each process looks every quarter of a second, at
a phase of its own.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

READ, TOTAL, GOOD, PATIENCE, BACKLOG, TICK = 15.0, 30.0, 2.0, 10.0, 100, 0.25
Latency = Callable[[float, random.Random], float]


class Thread:
    """One thread: its request, and the upstream that it waits for."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.upstream: Optional[str] = None
        self.since = 0.0
        self.asked = 0.0
        self.token = 0  # of what it does now: an event of something earlier is void
        self.request: Optional[Request] = None
        self.busy_at = 0.0

    def stop(self) -> None:
        """Have it do nothing."""
        self.request, self.upstream, self.token = None, None, self.token + 1


class View:
    """Requests a second, seconds of work, upstreams in turn, retries, the app's own timeout."""

    def __init__(
        self,
        name: str,
        rate: float,
        cpu: float = 0.03,
        calls: Sequence[str] = (),
        retries: int = 0,
        timeout: float = 0.0,
    ) -> None:
        self.name, self.rate, self.cpu, self.calls = name, rate, cpu, calls
        self.retries, self.timeout = retries, timeout


class Request:
    """One request."""

    def __init__(self, view: View, born: float) -> None:
        self.view, self.born, self.calls, self.retries = view, born, 0, 0


class Scenario:
    """What happens: upstreams in `sick` may be limited from `t0` to `t1`, no others."""

    def __init__(
        self,
        name: str,
        views: Sequence[View],
        latency: Dict[str, Latency],
        sick: str = "x",
        processes: int = 8,
        threads: int = 1,
        end: float = 100.0,
        t0: float = 20.0,
        t1: float = 80.0,
        history: Optional[Dict[str, float]] = None,
        actions: Sequence[Tuple[float, Callable[[Sim], object]]] = (),
        late: float = 0.0,
        *,
        race: bool = False,
    ) -> None:
        self.name, self.views, self.latency, self.sick = name, views, latency, sick
        self.processes, self.threads = processes, threads
        self.end, self.t0, self.t1 = end, t0, t1
        self.history = dict.fromkeys(latency, 0.02) if history is None else history
        self.actions, self.late, self.race = actions, late, race

    def ill(self, upstream: str, now: float) -> bool:
        """Return whether an upstream may be limited now."""
        return upstream in self.sick and self.t0 <= now < self.t1


class Policy:
    """What protects the pool: the client's limits alone."""

    retries = True

    def start(self, sim: Sim) -> None:
        """Begin."""
        self.sim = sim

    def admits(self, _upstream: str) -> bool:
        """Return whether a call may begin."""
        return True

    def ended(self, upstream: str, seconds: float, outcome: str) -> None:
        """Note the end of a call: answer, timeout, reclaimed."""

    def tick(self, process: int) -> None:
        """Look, as the watchdog of a process."""


class Sim:
    """One run of a scenario under a policy."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        self.scenario, self.policy, self.random = scenario, policy, random.Random(seed)
        self.now, self.busy, self.processes, self._number = 0.0, 0.0, 0, 0
        self._events: List[Tuple[float, int, Callable[..., object], Tuple[Any, ...]]] = []
        self.queue: Deque[Request] = deque()
        self.threads: List[Thread] = []
        self.free: List[Thread] = []
        self.done: List[Tuple[str, float, float, bool]] = []  # view, born, seconds, good
        self.lost = {"refused": 0, "reclaimed": 0, "wrong": 0}
        policy.start(self)
        for _ in range(scenario.processes):
            self.spawn()
        for view in scenario.views:
            self.at(self.random.expovariate(view.rate), self._arrive, view)
        for when, action in scenario.actions:
            self.at(when, action, self)

    def at(self, when: float, function: Callable[..., object], *arguments: Any) -> None:
        """Have something happen."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, function, arguments))

    def run(self) -> Sim:
        """Let everything happen until the end."""
        while self._events[0][0] <= self.scenario.end:
            self.now, _, function, arguments = heapq.heappop(self._events)
            function(*arguments)
        return self

    def spawn(self) -> None:
        """Start a process."""
        self.processes += 1
        new = [Thread(self.processes) for _ in range(self.scenario.threads)]
        self.threads += new
        self.free += new
        phase = 0.0 if self.scenario.race else self.random.random() * TICK
        self.at(self.now + phase, self._tick, self.processes)
        self._dispatch()

    def kill(self, process: int) -> None:
        """Kill a process: its requests are lost, its rows do not count any more."""
        for thread in [t for t in self.threads if t.process == process]:
            if thread.request:
                self.done.append((thread.request.view.name, thread.request.born, math.inf, False))
                self.busy += self.now - thread.busy_at
            else:
                self.free.remove(thread)
            self.threads.remove(thread)
            thread.stop()
        self.at(self.now + 1.0, self.spawn)

    def calls(self, upstream: str) -> List[Thread]:
        """Return the threads that wait for an upstream."""
        return [thread for thread in self.threads if thread.upstream == upstream]

    def end_call(self, thread: Thread) -> None:
        """End a call, as a watchdog does."""
        if self.scenario.race:  # all have decided on the same picture, and act a little later
            self.at(self.now + 0.05, self._over, thread, thread.token, "reclaimed")
        else:
            self._over(thread, thread.token, "reclaimed")

    def _tick(self, process: int) -> None:
        if any(thread.process == process for thread in self.threads):
            self.policy.tick(process)
            self.at(self.now + TICK + self.scenario.late, self._tick, process)

    def _arrive(self, view: View) -> None:
        self.at(self.now + self.random.expovariate(view.rate), self._arrive, view)
        if len(self.queue) >= BACKLOG:
            self.done.append((view.name, self.now, math.inf, False))
        else:
            self.queue.append(Request(view, self.now))
            self._dispatch()

    def _dispatch(self) -> None:
        while self.free and self.queue:
            request = self.queue.popleft()
            if self.now - request.born > PATIENCE:  # its client has gone
                self.done.append((request.view.name, request.born, math.inf, False))
                continue
            thread = self.free.pop(self.random.randrange(len(self.free)))
            thread.request, thread.busy_at = request, self.now
            work = request.view.cpu * self.random.uniform(0.5, 1.5)
            self.at(self.now + work, self._step, thread, thread.token)

    def _step(self, thread: Thread, token: int) -> None:
        request = thread.request
        if token != thread.token or request is None:
            return
        if request.calls == len(request.view.calls):
            self._finish(thread, good=True)
            return
        upstream = request.view.calls[request.calls]
        if not self.policy.admits(upstream):
            self._failed(thread, upstream, "refused")
            return
        seconds = self.scenario.latency[upstream](self.now, self.random)
        limit = request.view.timeout or READ
        thread.upstream, thread.since, thread.asked = upstream, self.now, request.view.timeout
        thread.token += 1
        outcome = "answer" if seconds <= limit else "timeout"
        self.at(self.now + min(seconds, limit), self._over, thread, thread.token, outcome)

    def _over(self, thread: Thread, token: int, outcome: str) -> None:
        upstream, request = thread.upstream, thread.request
        if token != thread.token or upstream is None or request is None:
            return
        thread.upstream, thread.token = None, thread.token + 1
        self.policy.ended(upstream, self.now - thread.since, outcome)
        if outcome == "answer":
            request.calls += 1
            self._step(thread, thread.token)
        else:
            self._failed(thread, upstream, outcome)

    def _failed(self, thread: Thread, upstream: str, why: str) -> None:
        request = thread.request
        assert request is not None
        if why != "timeout":
            self.lost[why] += 1
            self.lost["wrong"] += not self.scenario.ill(upstream, self.now)
        retries = request.retries < request.view.retries
        if (
            retries
            and (why == "timeout" or self.policy.retries)
            and self.now - request.born < TOTAL
        ):
            request.retries += 1
            self.at(self.now + 0.001, self._step, thread, thread.token)
        else:
            self.at(self.now + 0.002, self._give_up, thread, thread.token)

    def _give_up(self, thread: Thread, token: int) -> None:
        if token == thread.token:
            self._finish(thread, good=False)

    def _finish(self, thread: Thread, *, good: bool) -> None:
        request = thread.request
        assert request is not None
        self.done.append((request.view.name, request.born, self.now - request.born, good))
        self.busy += self.now - thread.busy_at
        thread.stop()
        self.free.append(thread)
        self._dispatch()
