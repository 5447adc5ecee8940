"""Run benchmarks one after the other: `python -m bench` the short ones, `python -m bench NAME ...`
those (the name of a folder: all that are in it), `--all` every one.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Sequence

SHORT = ("wrap.import_time", "wrap.hello", "stderr.lines", "outbound.table")
# minutes each: whole tables on real servers, a gigabyte, a million lines, other projects' test
# suites
LONG = (
    "bulkhead.cost",
    "bulkhead.faults",
    "bulkhead.phases",
    "bulkhead.servers",
    "bulkhead.sim",
    "bulkhead.soak",
    "bulkhead.weather",
    "cli.many_workers",
    "doctor.corpus",
    "doctor.fuzz",
    "doctor.parser",
    "outbound.costs",
    "outbound.leaks",
    "overload.cells",
    "overload.faults",
    "overload.harm",
    "overload.overload",
    "overload.samplers",
    "overload.sim",
    "overload.soak",
    "overload.waits",
    "peers.suites",
    "peers.tracers",
    "readiness.experiments",
    "readiness.reloads",
    "wrap.cost",
    "wrap.weight",
    "wrap.idle",
    "request.false_positives",
    "stderr.bursts",
    "stderr.log_line",
    "stderr.matrix",
    "stderr.torn",
    "threads.exits",
    "threads.processes",
    "threads.reloads",
    "threads.stale_states",
    "threads.start",
    "threads.work",
    "waits.costs",
    "waits.driver_ends",
    "waits.drivers",
    "waits.ends",
    "waits.races",
    "waits.table",
)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; return 1 if one of them failed."""
    known = [*SHORT, *LONG]
    folders = {name.partition(".")[0] for name in known}
    unknown = sorted(set(arguments) - {*known, *folders, "--all", "--list"})
    if unknown or "--list" in arguments:
        print("\n".join(f"{name:24} {_about(name)}" for name in known))
        return 2 if unknown else 0
    wanted = known if "--all" in arguments else arguments or SHORT
    chosen = [n for n in known if n in wanted or n.partition(".")[0] in wanted]
    failed = [name for name in chosen if _run(name)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _about(name: str) -> str:
    return (importlib.import_module(f"bench.{name}").__doc__ or "").splitlines()[0]


def _run(name: str) -> int:
    print(f"\n# {name}: {_about(name)}\n", flush=True)
    return subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
