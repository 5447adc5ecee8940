"""For all tests."""

from __future__ import annotations

import hypothesis
import pytest

from resilient_wsgi.shm import instance
from resilient_wsgi.testing import captured_events

# no example database: it would be written into the checkout, which need not be ours
hypothesis.settings.register_profile("default", database=None)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def _no_shared_files_left():
    """Let go of the private directory that this process took for a test, as at its orderly end."""
    yield
    instance.leave()


@pytest.fixture
def seen():
    """The events that are emitted during a test."""
    with captured_events() as happened:
        yield happened
