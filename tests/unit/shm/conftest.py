from __future__ import annotations

import os
import stat

import pytest

from resilient_wsgi import servers
from resilient_wsgi.servers.base import WORKER, Identity, Server
from resilient_wsgi.shm import instance


class Worker(Server):
    """A worker whose master is pytest's own parent, or the one given."""

    def __init__(self, master_pid: int, role: str = WORKER) -> None:
        super().__init__()
        self.master_pid, self.role = master_pid, role

    def identity(self):
        return Identity(self.role, 1, os.getpid(), self.master_pid)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """An empty folder in which the private directories are made."""
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.folders._wanted", lambda _: [str(tmp_path)])
    servers.use(Worker(os.getpid()))
    yield tmp_path
    servers.use(None)
    instance.leave()


@pytest.fixture
def in_child():
    """Run a function in a forked child, as another user where one is given; return what it
    returned, as text.
    """

    def run(function, uid=None):
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                if uid is not None:
                    os.setgroups([])
                    os.setgid(uid)
                    os.setuid(uid)
                text = str(function())
            except BaseException as error:
                text = repr(error)
            os.write(write, text.encode())
            os._exit(0)
        os.close(write)
        with open(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return text

    return run


@pytest.fixture
def other_user():
    """The uid of another user whom a child of this process can become."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    return 65534


def open_to_all(folder):
    """Make a folder like /tmp, and what leads to it passable."""
    folder.chmod(0o777 | stat.S_ISVTX)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and str(parent) != "/":
            parent.chmod(parent.stat().st_mode | 0o011)
