from __future__ import annotations

import pytest

from resilient_wsgi import request
from resilient_wsgi.request.running import running


@pytest.fixture(autouse=True)
def nothing_left_running():
    """No test leaves a watchdog, a signal handler or an entry in the table behind."""
    running.forget()
    yield
    request.uninstall()
    running.forget()
