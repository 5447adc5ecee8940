"""Scoreboards for tests: one in memory, one that is found by the pid of this process."""

from __future__ import annotations

import contextlib
import os

from resilient_wsgi import servers
from resilient_wsgi.servers.base import MASTER, Identity, Server
from resilient_wsgi.servers.facts import Configuration
from resilient_wsgi.shm import scoreboard
from resilient_wsgi.shm.layout import Geometry
from resilient_wsgi.shm.scoreboard import Scoreboard


def in_memory(workers: int) -> Scoreboard:
    """Return a scoreboard that only this process and its children have."""
    return scoreboard._without_name(Geometry(workers, 0, 1), "a test")


class Master(Server, Configuration):
    """This process, as uWSGI's master."""

    name = "uwsgi"

    def __init__(self, workers):
        super().__init__()
        self.configuration = self
        self._workers = workers

    def identity(self):
        return Identity(MASTER, 0, os.getpid(), os.getpid())

    def workers(self):
        return self._workers


@contextlib.contextmanager
def of_this_process(workers):
    """Make a scoreboard as a master does; it is found by the pid of this process."""
    scoreboard.leave()
    servers.use(Master(workers))
    try:
        yield Scoreboard.of_this_instance()
    finally:
        scoreboard.leave()
        servers.use(None)
