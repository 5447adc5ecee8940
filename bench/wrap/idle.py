"""What an idle instance costs: processor time of all its processes, without and with the library.

    python -m bench.wrap.idle [--workers 32 128] [--threads 1] [--beside PATH] [--svg FILE]

Real uWSGI; each worker serves requests first, then nothing is asked for, and the time that all
threads of all processes have run is taken from /proc/PID/task/TID/schedstat (nanoseconds; the
ticks of /proc/PID/stat are too coarse for what is measured here). `--beside` measures another
checkout of the library in the same run. Errors are lines of the log that name one inside of the
library.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from bench import ROOT
from bench.report import machine
from lab.measuring import load
from lab.processes import Server
from lab.processes.uwsgi import Option

APP = """
try:
    import resilient_wsgi
except ImportError:
    wrap = lambda app: app
else:
    resilient_wsgi.install()
    wrap = resilient_wsgi.wrap

@wrap
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
UNPROTECTED_APP = APP.replace("import resilient_wsgi\n", "raise ImportError\n", 1)
HOOKS: Dict[str, Option] = {
    "shared-import": "resilient_wsgi.uwsgi",
    "hook-accepting": "rpc:resilient_wsgi_ready",
}
ERROR = re.compile(r"error inside resilient_wsgi.*|Resource temporarily unavailable", re.MULTILINE)
WARM_UP = 8.0  # until everything rests that does
COLOURS = {"without": "#888", "with": "#06c", "before": "#c40"}


class Idle(NamedTuple):
    """An idle instance: its share of one core in percent, errors in its log, its memory in MiB."""

    percent: float
    errors: int
    mib: float


def ran(pids: Sequence[int]) -> Dict[Tuple[int, str], int]:
    """Return for how many nanoseconds each thread of the processes has run."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):
                    found[pid, task.name] = int((task / "schedstat").read_text().split()[0])
    return found


def memory(pids: Sequence[int]) -> float:
    """Return the proportional memory of the processes in MiB."""
    kib = 0
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
    return kib / 1024


def measure(
    path: Optional[str], workers: int, threads: int, seconds: float, *, lazy: bool = False
) -> Idle:
    """Run an instance with the library of that checkout, or without; leave it alone; measure."""
    found: List[Idle] = []
    # thousands of threads may take longer to end than their server is given
    with suppress(subprocess.TimeoutExpired), tempfile.TemporaryDirectory() as folder:
        Path(folder, "idle_app.py").write_text(UNPROTECTED_APP if path is None else APP)
        options: Dict[str, Option] = {
            "module": "idle_app",
            "master": True,
            "need-app": True,
            "processes": workers,
            "threads": threads,
            "lazy-apps": lazy,
            "listen": 1000,
            "disable-logging": True,
            "harakiri": 30,
            "worker-reload-mercy": 2,
            "reload-mercy": 2,
            "pythonpath": [folder, *([] if path is None else [path])],
            **({} if path is None else HOOKS),
        }
        env = {"PYTHONPATH": ":".join([folder, *([] if path is None else [path])])}
        with Server(options, env=env, start_timeout=300) as server:
            for _ in range(2 * workers):
                if load.get(server.port, "/", 10.0).status != "200":
                    raise server.error("does not serve")
            time.sleep(WARM_UP)
            pids = [server.pid, *server.workers()]
            before, begin = ran(pids), time.monotonic()
            time.sleep(seconds)
            after, end = ran(pids), time.monotonic()
            used = sum(after[task] - before.get(task, 0) for task in after) / 1e9
            errors = len(ERROR.findall(server.log()))
            found.append(Idle(100 * used / (end - begin), errors, memory(pids)))
    return found[0]


def table(found: Dict[str, Dict[int, Idle]]) -> str:
    """Return a Markdown table."""
    lines = [
        "| workers | library | of one core | per worker | errors | memory (PSS) |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, by_workers in found.items():
        lines += [
            f"| {n} | {name} | {idle.percent:.3f} % | {1e4 * idle.percent / n:.0f} us/s "
            f"| {idle.errors} | {idle.mib:.0f} MiB |"
            for n, idle in by_workers.items()
        ]
    return "\n".join(lines)


def svg(found: Dict[str, Dict[int, Idle]]) -> str:
    """Return a plot of the share of a core over the number of workers, both logarithmic."""
    from math import log10

    width, height, left, low, high = 640, 360, 60, -3, 2
    most = max(n for by_workers in found.values() for n in by_workers)

    def x(workers: float) -> float:
        return left + (width - left - 90) * log10(workers / 16) / log10(max(most, 17) / 16)

    def y(percent: float) -> float:
        share = (log10(max(percent, 10**low)) - low) / (high - low)
        return height - 40 - (height - 70) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        "<style>text{font:12px sans-serif}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="18">Processor time of an idle instance, % of one core</text>',
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(
            f'<path d="M{left} {at:.1f}H{width - 90}" stroke="#ddd"/>'
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
    sizes = sorted({n for by_workers in found.values() for n in by_workers})
    parts += [
        f'<text x="{x(n):.1f}" y="{height - 22}" text-anchor="middle">{n}</text>' for n in sizes
    ]
    parts.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">workers</text>')
    for name, by_workers in found.items():
        colour = next((c for word, c in COLOURS.items() if name.startswith(word)), "#000")
        points = [(x(n), y(idle.percent)) for n, idle in by_workers.items()]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        a, b = points[-1]
        parts.append(f'<text x="{a + 8:.1f}" y="{b + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main(arguments: Optional[List[str]] = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--lazy-apps", action="store_true")
    parser.add_argument("--beside", metavar="PATH", help="another checkout of the library")
    parser.add_argument(
        "--beside-most", type=int, default=256, metavar="N", help="with at most so many workers"
    )
    parser.add_argument("--svg", metavar="FILE", help="write a plot")
    chosen = parser.parse_args(arguments)
    paths = {"without": None, "with": str(ROOT)}
    if chosen.beside:
        paths["before"] = chosen.beside
    found: Dict[str, Dict[int, Idle]] = {name: {} for name in paths}
    for workers in chosen.workers:
        for name, path in paths.items():
            if name == "before" and workers > chosen.beside_most:
                continue
            idle = measure(path, workers, chosen.threads, chosen.seconds, lazy=chosen.lazy_apps)
            found[name][workers] = idle
            print(f"{workers} x {chosen.threads} {name}: {idle}", file=sys.stderr, flush=True)
    print(f"{machine('uwsgi')}; {chosen.threads} thread(s) each, {chosen.seconds:g} s\n")
    print(table(found))
    if chosen.svg:
        Path(chosen.svg).write_text(svg(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
