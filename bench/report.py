"""What every benchmark says: machine, versions, medians and spread, as a ratio with its peer in the
same run.
"""

from __future__ import annotations

import os
import platform
import statistics
from importlib import metadata
from typing import Mapping, Sequence


def machine(*packages: str) -> str:
    """Return machine and versions in a line."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    cpu = names[0] if names else platform.machine()
    return (
        f"{len(os.sched_getaffinity(0))} x {cpu}, Linux {platform.release()}, "
        f"CPython {platform.python_version()}" + (f", {versions}" if versions else "")
    )


def spread(values: Sequence[float]) -> str:
    """Return median and range."""
    return f"{statistics.median(values):.4g} ({min(values):.4g}-{max(values):.4g})"


def alternating(title: str, unit: str, runs: Mapping[str, Sequence[float]], base: str) -> str:
    """Return a Markdown table of alternating runs, with the ratio of each median to that of `base`.

    The ratio is the median of the ratios of neighbouring runs, which a slow change of the machine's
    speed cannot move.
    """
    lines = [
        f"### {title}",
        "",
        f"| | {unit}, median (range) of {len(runs[base])} | ratio to {base} |",
        "| --- | --- | --- |",
    ]
    for name, values in runs.items():
        ratio = statistics.median(value / peer for value, peer in zip(values, runs[base]))
        lines.append(f"| {name} | {spread(values)} | {ratio:.3f} |")
    return "\n".join(lines) + "\n"
