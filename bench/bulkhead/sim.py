"""Fair share against timeouts, tickets and a breaker, in simulated time over 60 scenarios.

    python -m bench.bulkhead.sim [PREFIX ...] [--policies timeouts,fair] [--seeds 3] [--set STEP=2]

Good is an answer 200 within 2 s. Wrong is a call that was refused or ended while its upstream was
well.
"""

from __future__ import annotations

import argparse
import math
from typing import Callable, Dict, List

from .engine import GOOD, Policy, Sim
from .policies import Breaker, Fair, Tickets, change
from .scenarios import scenarios

POLICIES: Dict[str, Callable[[], Policy]] = {
    "timeouts": Policy,
    "tickets": Tickets,
    "breaker": Breaker,
    "fair": Fair,
}
HEAD = (
    "scenario", "policy", "others good %", "last bad other, s", "callers good %",
    "first good after, s", "callers good after %", "refused", "ended", "wrong", "busy %",
)  # fmt: skip


def measure(sim: Sim) -> List[float]:
    """Return the figures of a run, in the order of the head."""
    of = sim.scenario
    edge = min(of.t1, of.end - 2)
    other = _rows(sim, "other", of.t0, edge)
    last_bad = max((born for born, _, good in other if not good), default=of.t0) - of.t0
    recovered = [born + took for born, took, good in _rows(sim, "caller", of.t1, of.end) if good]
    first = min(recovered, default=math.nan) - of.t1
    during = _good(_rows(sim, "caller", of.t0, edge))
    after = _good(_rows(sim, "caller", of.t1 + 1.5, of.end - 3))
    busy = 100 * sim.busy / of.end / len(sim.threads)
    return [_good(other), last_bad, during, first, after, *sim.lost.values(), busy]


def _rows(sim: Sim, view: str, start: float, stop: float) -> List[tuple[float, float, bool]]:
    return [
        (born, took, ok and took < GOOD)
        for name, born, took, ok in sim.done
        if name == view and start <= born < stop
    ]


def _good(rows: List[tuple[float, float, bool]]) -> float:
    return 100 * sum(good for _, _, good in rows) / len(rows) if rows else math.nan


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("prefix", nargs="*", default=[""])
    arguments.add_argument("--policies", default=",".join(POLICIES))
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--set", action="append", default=[], help="a constant of the rule")
    asked = arguments.parse_args()
    for constant in asked.set:
        name, _, value = constant.partition("=")
        change(name, float(value))
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    for scenario in scenarios():
        wanted = scenario.name.startswith(tuple(asked.prefix))
        for policy in asked.policies.split(",") if wanted else ():
            runs = [
                measure(Sim(scenario, POLICIES[policy](), seed).run())
                for seed in range(asked.seeds)
            ]
            mean = [sum(column) / asked.seeds for column in zip(*runs)]
            cells = [
                "" if math.isnan(m) else f"{m:.1f}" if i < 5 else f"{m:.0f}"
                for i, m in enumerate(mean)
            ]
            print("|", " | ".join([scenario.name, policy, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
