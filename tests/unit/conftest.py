"""For all unit tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resilient_wsgi.host import procfs


@pytest.fixture
def dead():
    """The pid of a process that is no more, and when it was started."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    when = procfs.start(child.pid)
    child.communicate(b"\n")
    return child.pid, when
