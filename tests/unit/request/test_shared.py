"""The memory that the workers of an instance share, and what stands in it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from resilient_wsgi import servers
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.host.procfs import start as started
from resilient_wsgi.request import component, rate
from resilient_wsgi.request.process import Process
from resilient_wsgi.request.records import RECORDS, regions
from resilient_wsgi.request.running import running
from resilient_wsgi.request.shared import SIZE_BYTES, open_shared, view
from resilient_wsgi.servers import Identity, Server
from resilient_wsgi.settings.options import Request
from resilient_wsgi.shm import instance
from resilient_wsgi.testing import captured_events


class Worker(Server):
    def __init__(self, number=3):
        super().__init__()
        self.number = number
        self.master_pid = os.getpid()

    def identity(self):
        return Identity("worker", self.number, os.getpid(), self.master_pid)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the private directories are made."""
    instance.leave()
    monkeypatch.setattr("resilient_wsgi.shm.bases._wanted", lambda _: [str(tmp_path)])
    servers.use(Worker())
    yield tmp_path
    instance.leave()
    servers.use(None)


@pytest.fixture
def dead():
    """The pid of a process that is no more, and when it was started."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    when = started(child.pid)
    child.communicate(b"\n")
    return child.pid, when


def files(folder):
    """What lies in the directory, without what `resilient-wsgi stacks` asks by."""
    return sorted(path.name for path in folder.glob("*/*") if not path.name.startswith("stacks-"))


def test_all_who_open_it_in_one_instance_see_the_same():
    first, second = open_shared(), open_shared()
    first.memory[5000] = 7
    assert second.memory[5000] == 7
    first.close()
    second.close()


def test_its_space_is_there_before_it_is_mapped():
    mine = open_shared()
    about = os.stat(f"{mine.directory.path}/requests")
    assert about.st_blocks * 512 >= SIZE_BYTES == about.st_size
    mine.close()


def test_one_of_another_version_is_made_anew(folder):
    os.close(instance.directory().create("requests", 100))
    mine = open_shared()
    assert len(mine.memory) == SIZE_BYTES
    assert files(folder) == ["requests"]
    mine.close()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_stands_in_its_place_is_not_used(kind):
    path = f"{instance.directory().path}/requests"
    {
        "symlink": lambda: os.symlink("/etc/passwd", path),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
    }[kind]()
    with pytest.raises((OSError, Unavailable)):
        open_shared()


def test_one_that_was_removed_between_opening_and_locking_is_not_used():
    first = open_shared()
    with first.lock():
        first.remove()
    second = open_shared()
    first.memory[5000] = 7
    assert second.memory[5000] == 0
    first.close()
    second.close()


def test_it_is_seen_from_outside_as_it_was_and_cannot_be_changed():
    mine = open_shared()
    regions(mine)[5].take(os.getpid(), 3)
    seen = regions(view(os.getpid()))
    regions(mine)[5].give_back()
    assert [region.number for region in seen if region.owner == (os.getpid(), 3)] == [5]
    with pytest.raises(TypeError):
        seen[5].give_back()
    mine.close()


def test_a_lock_dies_with_its_holder():
    mine = open_shared()
    code = f"import fcntl, os; f = os.open({mine.directory.path + '/requests'!r}, os.O_RDWR); fcntl.lockf(f, fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with mine.lock():
        pass
    mine.close()


def test_a_lock_that_is_held_for_ever_is_an_error_and_no_wait_for_ever():
    mine = open_shared()
    code = f"import fcntl, os; f = os.open({mine.directory.path + '/requests'!r}, os.O_RDWR); fcntl.lockf(f, fcntl.LOCK_EX); print('x', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    with pytest.raises(OSError, match=r"temporarily unavailable|denied"), mine.lock():
        pass
    holder.communicate(b"\n")
    mine.close()


def test_a_minute_s_rate_is_counted_over_all_who_share_it():
    first, second = open_shared(), open_shared()
    assert [rate.take(one, 3) for one in (first, second, first, second)] == [
        True,
        True,
        True,
        False,
    ]
    assert not rate.take(first, 0)
    first.close()
    second.close()


def began(options=None, number=3):
    process = Process(options or Request(), Worker(number), watching=False)
    process.start()
    return process


def test_a_killed_worker_is_told_of_once_by_whoever_comes_next(dead):
    first = began()
    region = first.region
    record = running.add_thread().record
    record.begin(100.0, b"POST", b"/pay", b"")
    record.write_doing("api.example (body)")
    region.seen(131.0)
    region.write_dump("thread 'MainThread', in POST /pay", 128.5)
    pid = os.getpid()
    region_of_dead(region, dead)
    with captured_events() as happened:
        for number in (1, 2):
            process = began(number=number)
            assert process.announcer.wait(10)
            process.stop()
    (event,) = happened
    assert str(event) == (
        f"worker 3 (pid {dead[0]}) was killed in POST /pay after 31.0 s, waiting for api.example (body)\n"
        "stacks taken 2.5 s earlier:\nthread 'MainThread', in POST /pay"
    )
    assert os.getpid() == pid


def test_what_is_too_long_for_its_place_says_so(dead):
    process = began()
    region = process.region
    record = running.add_thread().record
    record.begin(100.0, b"GET", b"/" + 70 * "\u00e9".encode(), b"")
    record.write_doing(100 * "x")
    region.write_dump(
        "\n".join(f"  function_{n} (/srv/shop/views.py:{n})" for n in range(1000)), 101.0
    )
    (found,) = region.requests()
    assert found.what == "GET /" + 51 * "\u00e9" + "[...]"
    assert found.doing == 80 * "x" + "[...]"
    *lines, last = region.dump().text.split("\n")
    assert last == "[...]"
    assert lines == [f"  function_{n} (/srv/shop/views.py:{n})" for n in range(len(lines))]
    process.stop()


def region_of_dead(region, dead):
    """Have the region be that of a process that is no more, with what stands in it."""
    from resilient_wsgi.request.records import _OWNER

    seen = region.last_seen
    _OWNER.pack_into(region._memory, region._at, dead[0], 3, dead[1], seen)


def test_an_orderly_end_leaves_nothing(folder):
    process = began()
    assert files(folder) == ["requests"]
    with captured_events() as happened:
        process.stop()
        again = began()
        assert again.announcer.wait(10)
        again.stop()
    assert happened == []
    assert list(folder.iterdir()) == []


def test_the_last_one_that_ends_removes_it(folder):
    first, second = began(), Process(Request(), Worker(4), watching=False)
    second.start()
    first.stop()
    assert files(folder) == ["requests"]
    second.stop()
    assert files(folder) == []


def test_threads_beyond_those_that_have_a_place_are_served_without(folder):
    process = began()
    slots = [running.add_thread() for _ in range(RECORDS + 2)]
    assert [slot.record is not None for slot in slots] == [True] * RECORDS + [False] * 2
    process.stop()


def test_after_its_end_nobody_writes_into_a_place_that_may_be_another_s():
    process = began()
    slot = running.add_thread()
    assert slot.record is not None
    process.stop()
    assert slot.record is None
    again = began()
    assert slot.record is not None
    again.stop()


def test_a_path_of_any_length_and_any_characters_fits():
    process = began()
    record = running.add_thread().record
    record.begin(1.0, b"GET", ("/" + "ü" * 1000).encode("latin-1"), b"")
    (found,) = process.region.requests()
    assert found.what.startswith("GET /")
    record.clear()
    assert list(process.region.requests()) == []
    process.stop()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_without_room_everything_else_works_and_status_says_why(
    folder, caplog, monkeypatch, number
):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    process = began()
    assert process.region is None
    assert running.add_thread().record is None
    assert f"no room in {folder} for 2052 KiB: {os.strerror(number)}" in process.unshared
    assert "killed workers will not be reported" in caplog.text
    monkeypatch.setattr(component.Request.here(), "process", process)
    assert component.status_lines()[-1].startswith("killed workers are not reported: no room in")
    process.stop()
    assert files(folder) == []


def test_a_child_that_is_forked_begins_anew():
    process = began()
    child = os.fork()
    if child == 0:
        mine = process._pid == os.getpid()
        process.start()
        os._exit(0 if not mine and process._pid == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    # it has not given back
    assert sum(bool(region.owner[0]) for region in regions(process.shared)) == 2
    process.stop()
