"""The one helper that starts and stops servers, for lab, tests and bench alike.

Each is a context manager: it starts on entry and is ready when the block begins; when the block
ends, also by an exception, everything it started is gone, and nothing else is touched.
"""

from __future__ import annotations

from .base import Process, ProcessError, ToolMissing, free_port, wait_until
from .daemon import Daemon
from .gunicorn import Gunicorn
from .nginx import Nginx
from .program import Program
from .upstream import Upstream
from .uwsgi import Server

__all__ = [
    "Daemon",
    "Gunicorn",
    "Nginx",
    "Process",
    "ProcessError",
    "Program",
    "Server",
    "ToolMissing",
    "Upstream",
    "free_port",
    "wait_until",
]
