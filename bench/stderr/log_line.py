"""What a log line costs, in CPU time, beside a version before: in processes that alternate.

`python -m bench.stderr.log_line PATH`: PATH is a checkout of the version before (`git worktree add`).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Dict, List, Sequence

from bench.report import machine, spread

ROUNDS = 31
HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE = """
import fcntl, json, logging, os, sys, time
import resilient_wsgi
assert resilient_wsgi.__file__.startswith({root!r}), resilient_wsgi.__file__
from resilient_wsgi.stderr import NonBlockingHandler, NonBlockingStream
LINE = "x" * 119 + "\\n"
RECORD = logging.LogRecord("bench", logging.INFO, "app.py", 1, "x" * 119, (), None)
LINES = 6000
def pipe():
    reading, writing = os.pipe()
    fcntl.fcntl(writing, 1031, 1 << 20)
    os.set_blocking(reading, False)
    return reading, writing
def emptied(reading):
    try:
        while os.read(reading, 1 << 20): pass
    except BlockingIOError: pass
def per_line(write, value, reading=None):
    best = 1e9
    for _ in range(9):
        begin = time.process_time_ns()
        for _ in range(LINES): write(value)
        best = min(best, (time.process_time_ns() - begin) / LINES)
        if reading is not None: emptied(reading)
    return best
found = {{}}
reading, writing = pipe()
stream = NonBlockingStream(writing)
found["written"] = per_line(stream.write, LINE, reading)
found["record of logging, written"] = per_line(NonBlockingHandler(stream).handle, RECORD, reading)
reading, writing = pipe()
private = os.open("/proc/self/fd/%d" % writing, os.O_RDWR | os.O_NONBLOCK)
found["written, taken over"] = per_line(NonBlockingStream(private).write, LINE, reading)
reading, writing = pipe()
stream = NonBlockingStream(writing)
for _ in range(20000): stream.write(LINE)
found["buffered, reader stalled"] = per_line(stream.write, LINE)
print(json.dumps(found))
"""


def costs(root: str) -> Dict[str, float]:
    """Return nanoseconds of CPU time for each kind of line, in a fresh process: the least of 9."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(root=root)],
        capture_output=True,
        check=True,
        timeout=120,
        cwd="/",
        env={**os.environ, "PYTHONPATH": root},
    )
    found: Dict[str, float] = json.loads(done.stdout)
    return found


def interval(ratios: Sequence[float]) -> str:
    """Return median and 95 % confidence interval of the median, by order statistics."""
    ordered = sorted(ratios)
    count = len(ordered)
    low = max(0, int(count / 2 - 0.98 * count**0.5))
    return f"{statistics.median(ordered):.3f} ({ordered[low]:.3f}-{ordered[-1 - low]:.3f})"


def run(arguments: Sequence[str]) -> str:
    """Return the report."""
    roots = {"now": HERE}
    if arguments:
        roots = {"before": os.path.abspath(arguments[0]), **roots}
    runs: Dict[str, List[Dict[str, float]]] = {version: [] for version in roots}
    for number in range(ROUNDS):
        for version in list(roots) if number % 2 else reversed(list(roots)):
            runs[version].append(costs(roots[version]))
    lines = ["### What a log line costs", "", machine(), ""]
    lines += [f"| line | {' | '.join(f'{each}, ns' for each in roots)} | ratio, 95 % |"]
    lines += ["| --- " * (len(roots) + 2) + "|"]
    for kind in runs["now"][0]:
        values = {version: [each[kind] for each in runs[version]] for version in roots}
        shown = " | ".join(spread(each) for each in values.values())
        first = values[next(iter(roots))]
        ratios = [now / before for now, before in zip(values["now"], first)]
        lines.append(f"| {kind} | {shown} | {interval(ratios)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(run(sys.argv[1:]))
