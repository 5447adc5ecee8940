from __future__ import annotations

import pytest

from resilient_wsgi import request
from resilient_wsgi.request.running import running
from resilient_wsgi.shm import instance


@pytest.fixture(autouse=True)
def nothing_left_running():
    """No test leaves a watchdog, a signal handler, an entry in the table or a private directory
    behind.
    """
    running.forget()
    yield
    request.uninstall()
    running.forget()
    instance.leave()
