"""One upstream hangs, on real servers with default settings: without the library, and with it.

python -m bench.bulkhead.servers [--kinds "uwsgi 8 x 1"] [--rates 10,40] [--seconds 25]
"""

from __future__ import annotations

import argparse

from lab.measuring import load
from lab.processes import Upstream

from .instances import KINDS, VARIANTS, instance, outage

HEAD = (
    "instance", "calls/s", "library", "other views good", "503 after", "first good after",
    "callers good after",
)  # fmt: skip


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kinds", default=",".join(KINDS))
    arguments.add_argument("--variants", default=",".join(VARIANTS))
    arguments.add_argument("--rates", default="10,40")
    arguments.add_argument("--seconds", type=float, default=25.0)
    arguments.add_argument("--log", action="store_true", help="the library's lines, too")
    asked = arguments.parse_args()
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    for kind in asked.kinds.split(","):
        for rate in map(float, asked.rates.split(",")):
            for variant in asked.variants.split(","):
                _row(kind, rate, variant, asked.seconds, log=asked.log)


def _row(kind: str, rate: float, variant: str, seconds: float, *, log: bool) -> None:
    rates = [load.Rate("/call/x", rate), load.Rate("/other", 20)]
    with Upstream() as upstream, instance(kind, variant, {"x": upstream.url}) as (port, server):
        found = outage(port, upstream, rates, seconds)
        cells = [kind, f"{rate:g}", variant, *found.figures()]
        print("|", " | ".join(cells), "|", flush=True)
        if log:
            lines = [line for line in server.log().splitlines() if "resilient" in line]
            print("\n".join(lines[-30:]))


if __name__ == "__main__":
    main()
