"""What a worker could not say before its end: its successor finds it, once, and nobody else does."""

import os

import pytest

from resilient_wsgi import servers
from resilient_wsgi.servers.base import WORKER, Identity, Server
from resilient_wsgi.shm import instance
from resilient_wsgi.stderr import NonBlockingStream, handover
from resilient_wsgi.stderr.buffer import Dropped


class Worker(Server):
    """A worker whose master is the process that runs the tests."""

    master = os.getppid()

    def identity(self):
        return Identity(WORKER, 1, os.getpid(), self.master)


@pytest.fixture
def worker(monkeypatch, tmp_path):
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.folders._wanted", lambda _: [str(tmp_path)])
    made = Worker()
    servers.use(made)
    yield made
    instance.leave()
    servers.use(None)


def files(folder):
    return list(folder.glob("*/*"))


def test_all_that_was_left_is_found_once(worker, tmp_path):
    handover.leave(2, Dropped(3, 300))
    handover.leave(2, Dropped(4, 400))
    handover.leave(1, Dropped(50, 5000))
    assert handover.take(2) == (7, 700)
    assert handover.take(2) == (0, 0)
    assert handover.take(1) == (50, 5000)
    assert files(tmp_path) == []


def test_another_instance_does_not_find_it(worker, tmp_path):
    handover.leave(2, Dropped(3, 300))
    worker.master = 1
    assert handover.take(2) == (0, 0)
    worker.master = Worker.master
    assert handover.take(2) == (3, 300)


def test_looking_for_it_makes_nothing(worker, tmp_path):
    assert handover.take(2) == (0, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nonsense", "empty", "symlink", "fifo", "directory"])
def test_what_is_no_count_is_not_believed_and_not_waited_for(worker, tmp_path, kind):
    handover.leave(2, Dropped(3, 300))
    (path,) = files(tmp_path)
    path.unlink()
    {
        "nonsense": lambda: path.write_text("nonsense"),
        "empty": path.touch,
        "symlink": lambda: path.symlink_to("/etc/passwd"),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[kind]()
    handover.leave(2, Dropped(4, 400))
    assert handover.take(2) == (4, 400)


@pytest.mark.parametrize("master", [0, os.getpid()], ids=["no master", "its own master"])
def test_who_has_no_successor_leaves_nothing(worker, tmp_path, master):
    worker.master = master
    handover.leave(2, Dropped(3, 300))
    assert list(tmp_path.iterdir()) == []


def test_who_inherits_says_it_with_its_own_before_anything_else(pipe):
    dying, heir = NonBlockingStream(pipe.write_end), NonBlockingStream(pipe.write_end)
    pipe.fill()
    for _ in range(10):
        dying.write("lost\n")
    assert not dying.finish(0)
    left = dying.writer.give_up()
    assert left == (10, 50)
    assert dying.writer.give_up() == (0, 0)
    heir.writer.inherit(left)
    pipe.read()
    heir.write("first\n")
    notice, first = pipe.read().splitlines()
    assert notice.startswith(b"resilient_wsgi: [RW401] 10 lines (50 bytes) dropped by process ")
    assert notice.endswith(b" process %d and processes before it" % os.getpid())
    assert first == b"first"
    assert heir.dropped == (10, 50)
