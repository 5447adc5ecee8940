"""A process of its own for a piece of code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def python(code):
    """Run it; return its exit code, what it said, and its errors."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process (pid", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
