"""A pytest plugin: switches the limits on for another project's test suite."""

from __future__ import annotations

import os

if os.environ.get("OUTBOUND_LIMITS") == "on":
    from resilient_wsgi import outbound

    outbound.install()
