"""The matrix of clients and misbehaviours as a Markdown table, what a client does without the
library beside it.

    python -m bench.outbound.table [> table.md]

urllib3 1.26 is measured in a venv of its own, made in a temporary folder; RESILIENT_WSGI_URLLIB3_1
names a Python that has it already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from typing import Any, Dict, List, Tuple

from bench.outbound.cells import NAMES
from bench.outbound.hostile import LONG
from bench.report import machine

# the unprotected ones mostly sleep; those with the library are to be exact
PROCESSES = {"without": 12, "with": 4}
COLUMNS = (
    "http.client", "urllib.request", "urllib3 1.26", "urllib3 2", "requests", "httpx", "httpx2",
    "httpx on asyncio", "aiohttp",
)  # fmt: skip

Results = Dict[Tuple[str, str, bool], Dict[str, Any]]


def measure(python: str, mode: str) -> Results:
    """Measure all cells of the clients that this Python has, in a few processes at once."""
    command = [python, "-m", "bench.outbound.cells", mode]
    running = [
        subprocess.Popen(
            [*command, str(i), str(PROCESSES[mode]), str(LONG)], stdout=subprocess.PIPE, text=True
        )
        for i in range(PROCESSES[mode])
    ]
    lines = [
        line for process in running for line in process.communicate(timeout=900)[0].splitlines()
    ]
    measured: List[Dict[str, Any]] = [json.loads(line) for line in lines]
    return {(result["client"], result["scenario"], result["tls"]): result for result in measured}


def python_with_urllib3_1(folder: str) -> str:
    python = os.environ.get("RESILIENT_WSGI_URLLIB3_1", "")
    if not python:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "urllib3<2", "requests", "httpx", "wrapt"],
            check=True,
        )
    return python


def table(unprotected: Results, protected: Results, tls: bool) -> str:
    lines = [
        "| the other side | " + " | ".join(COLUMNS) + " |",
        "| --- |" + " --- |" * len(COLUMNS),
    ]
    for scenario in NAMES:
        cells = [
            cell(unprotected.get((name, scenario, tls)), protected.get((name, scenario, tls)))
            for name in COLUMNS
        ]
        if any(cells):
            lines.append(f"| {scenario} | " + " | ".join(text or "-" for text in cells) + " |")
    return "\n".join(lines) + "\n"


def cell(unprotected: Any, protected: Any) -> str:
    """Return seconds without and with; what did not end in the client's own timeout class is
    marked.
    """
    if unprotected is None or protected is None:
        return ""
    return f"{'' if unprotected['over'] else '> '}{unprotected['seconds']:.2f}{'' if unprotected['own'] else '†'} → **{protected['seconds']:.2f}{'' if protected['own'] else '†'}**"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="urllib3-1-") as folder:
        pythons = (sys.executable, python_with_urllib3_1(folder))
        unprotected, protected = (
            {k: v for p in pythons for k, v in measure(p, mode).items()}
            for mode in ("without", "with")
        )
    print(
        f"Measured on {machine('requests', 'urllib3', 'httpx', 'httpcore', 'wrapt')}, on a machine "
        "that other work shared.\n"
    )
    print(
        "Seconds until the call was over: callers with `timeout=1`, without the library → "
        "**callers with no timeout at all, with a total of 1 s**."
    )
    print(
        "† did not raise the client's own timeout class (mostly: it went on to the end of what the "
        "other side does).\n"
    )
    print("### Without TLS\n\n" + table(unprotected, protected, tls=False))
    print("### TLS\n\n" + table(unprotected, protected, tls=True))
    seconds = [r["seconds"] for r in protected.values() if r["scenario"] != "retry-after"]
    late = sum(not 1.0 <= s <= 1.15 for s in seconds)
    print(
        f"{len(seconds)} cells with the library took {min(seconds):.3f} to {max(seconds):.3f} s; "
        f"{late} were outside of 1.00 to 1.15 s;"
    )
    print(
        "those with `Retry-After: 3600` raise at once, because the pause is longer than what is "
        "left."
    )


if __name__ == "__main__":
    main()
