"""An upstream that hangs from the first call on, in each phase of a call.

    python -m bench.bulkhead.phases [PHASE ...] [--variants without,with]

4 processes, harakiri 30, 10 calls/s beside 10/s of other views. Good from 7 s on: nothing is known
of the upstream, so its calls are stuck after 3 s.
"""

from __future__ import annotations

import argparse
import time

from lab.measuring import load

from .hanging import PHASES, Hanging
from .instances import PATIENCE, WITH, WITHOUT, Outage, instance

HEAD = ("hangs in", "library", "other views good", "503 after")


def row(phase: str, variant: str, seconds: float) -> str:
    """Return a row of the table."""
    rates = [load.Rate("/call/x", 10), load.Rate("/other", 10)]
    with Hanging(phase) as upstream, instance("uwsgi 4 x 1", variant, {"x": upstream.url}) as made:
        with load.Load(made[0], rates, patience=PATIENCE, seconds=seconds + PATIENCE) as traffic:
            begin = time.monotonic()
            time.sleep(seconds)
            traffic.stop()
        found = Outage(traffic.answers, begin + 4, begin + seconds)
        good = found.good("/other", begin + 7, begin + seconds)
    return f"| {phase} | {variant} | {good} | {1000 * found.refusal():.0f} ms |"


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("phases", nargs="*", default=PHASES)
    arguments.add_argument("--variants", default=f"{WITHOUT},{WITH}")
    arguments.add_argument("--seconds", type=float, default=17.0)
    asked = arguments.parse_args()
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    for phase in asked.phases:
        for variant in asked.variants.split(","):
            print(row(phase, variant, asked.seconds), flush=True)


if __name__ == "__main__":
    main()
