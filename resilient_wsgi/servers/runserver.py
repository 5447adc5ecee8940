"""Django's `runserver`: one process, and with the autoreloader a second one that only watches over
it.
"""

from __future__ import annotations

import os
import sys
from types import CodeType
from typing import Optional

from .base import MASTER, Identity
from .plain import PlainServer

# django/utils/autoreload.py, DJANGO_AUTORELOAD_ENV: set for the process that serves
SERVES = "RUN_MAIN"


class RunserverServer(PlainServer):
    """`manage.py runserver`.

    The process that watches has imported the app as well, and is to run nothing of it.
    """

    name = "runserver"

    def started(self) -> None:
        """Note that this process serves; the one that only watches does not."""
        if self.identity().role != MASTER:
            super().started()

    def identity(self) -> Identity:
        """Return who this process is: the one that serves is all there is, whatever a thread asks
        for.
        """
        if "--noreload" in sys.argv or os.environ.get(SERVES) == "true":
            return super().identity()
        pid = self._system.getpid()
        return Identity(MASTER, 0, pid, pid)

    def calls_app(self, code: CodeType) -> Optional[bool]:
        """Return True for `socketserver`, which runs each request, most in a thread of its own."""
        return True if code.co_filename.endswith("socketserver.py") else None


def running() -> bool:
    """Return whether this process was started as `manage.py runserver`."""
    return "django" in sys.modules and sys.argv[1:2] == ["runserver"]
