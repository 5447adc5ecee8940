from __future__ import annotations

import pytest

from bench.outbound.hostile import Hostile
from resilient_wsgi.outbound import install, uninstall
from resilient_wsgi.settings.options import Outbound

TOTAL = 0.3


@pytest.fixture(autouse=True)
def installed():
    """All three limits are TOTAL seconds; nothing is left installed after a test."""
    install(Outbound(connect_timeout=TOTAL, read_timeout=TOTAL, total_timeout=TOTAL))
    yield
    uninstall()


@pytest.fixture(scope="session")
def server():
    """An upstream that goes on for 6 s with whatever it does."""
    with Hostile() as hostile:
        yield hostile
