"""How long importing takes: `resilient_wsgi`, and all that `install()` then needs, beside Django
and requests.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Dict, List

from bench.report import machine, spread

ROUNDS = 15
WHAT = {
    "`import resilient_wsgi`": "import resilient_wsgi",
    "the same with `install()`": "import resilient_wsgi; resilient_wsgi.install()",
    "`import requests`": "import requests",
    "`import django.db`": "import django.db",
}


def milliseconds(statement: str) -> float:
    """Return how long a statement takes in a fresh interpreter."""
    code = (
        f"import time; t = time.perf_counter()\n{statement}\nprint((time.perf_counter() - t) * 1e3)"
    )
    return float(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, timeout=60
        ).stdout
    )


def run() -> str:
    """Return the report."""
    runs: Dict[str, List[float]] = {name: [] for name in WHAT}
    for _ in range(ROUNDS):
        for name, statement in WHAT.items():
            runs[name].append(milliseconds(statement))
    rows = "".join(f"| {name} | {spread(values)} |\n" for name, values in runs.items())
    head = f"### Time to import\n\n{machine('django', 'requests', 'wrapt')}\n\n"
    return f"{head}| | ms, median (range) of {ROUNDS}, each in a fresh interpreter |\n| --- | --- |\n{rows}"


if __name__ == "__main__":
    sys.stdout.write(run())
