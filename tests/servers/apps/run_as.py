"""Workers that change their user as uWSGI's option `uid` does, where that user may not read this
Python.
"""

from __future__ import annotations

import os

from resilient_wsgi import servers


def run_as() -> None:
    """Have each worker become the user whose number is in RUN_AS, if it is set."""
    if "RUN_AS" in os.environ:
        servers.detect().hooks.child.add(_become)


def _become() -> None:
    uid = int(os.environ["RUN_AS"])
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
