"""The scoreboard of an instance: what its processes write, and what is read from outside."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest

from resilient_wsgi import servers
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.host import procfs
from resilient_wsgi.servers.base import MASTER, WORKER, Identity, Server
from resilient_wsgi.servers.facts import Configuration
from resilient_wsgi.shm import instance, opening, scoreboard
from resilient_wsgi.shm.layout import (  # fmt: skip
    DUMP_BLOCK_BYTES,
    NAME,
    NAMES,
    QUEUE_BYTES,
    ROW_BYTES,
    THREAD_BYTES,
    Geometry,
    Header,
    NotAScoreboard,
)
from resilient_wsgi.shm.scoreboard import Scoreboard
from resilient_wsgi.shm.snapshot import Snapshot, drain

from .conftest import open_to_all


class Instance(Server, Configuration):
    """A worker, or the master, of an instance of uWSGI whose master is this process."""

    name = "uwsgi"

    def __init__(self, number=1, role=WORKER, workers=4, threads=2):
        super().__init__()
        self.configuration = self
        self.number, self.role, self.sizes = number, role, (workers, threads)
        self.master_pid = os.getpid()
        self.again = False
        self.uid = None

    def identity(self):
        number = self.number if self.role == WORKER else 0
        return Identity(self.role, number, os.getpid(), self.master_pid)

    def workers(self):
        return self.sizes[0]

    def concurrency(self):
        return self.sizes[1]

    def reloaded(self):
        return self.again

    def worker_uid(self):
        return self.uid


@pytest.fixture(autouse=True)
def nothing_known(base):
    scoreboard.forget()
    yield
    scoreboard.forget()


def worker(number=1, **sizes):
    """Become a worker, which has not looked at the scoreboard yet."""
    servers.use(Instance(number, **sizes))
    return Scoreboard.of_this_instance()


def master(*, again=False, **sizes):
    """Become the master, as a new program."""
    server = Instance(role=MASTER, **sizes)
    server.again = again
    servers.use(server)
    scoreboard.forget()
    return Scoreboard.of_this_instance()


def seen():
    return Snapshot(instance.directory())


def begin(thread, path=b"/pay", start=100.0, method=b"POST"):
    thread.begin(start, start + 30, method, path, start)


# What is written is read


def test_what_a_worker_writes_is_seen_from_outside():
    board = worker(3)
    row = board.mine()
    row.state, row.spawns, row.failures, row.since = 2, 7, 1, 12.5
    row.error = "ImportError: no module named shop"
    thread = row.threads[1]
    begin(thread)
    thread.note("api.example (body)")
    board.waits_for[thread.index] = board.name("api.example:443")
    board.waits_since[thread.index] = 101.5
    row.write_stacks("thread 'MainThread', in POST /pay", 128.5)
    row.seen = 131.0
    found = seen().worker(3)
    assert (found.pid, found.started, found.worker) == (os.getpid(), procfs.start("self"), 3)
    assert (found.state, found.spawns, found.failures, found.since) == (2, 7, 1, 12.5)
    assert found.error == "ImportError: no module named shop"
    (request,) = found.requests()
    assert (request.what, request.begun, request.deadline) == ("POST /pay", 100.0, 130.0)
    assert (request.doing, request.waiting_since) == ("api.example (body)", 101.5)
    assert seen().names[request.waits_for] == "api.example:443"
    assert found.stacks().text == "thread 'MainThread', in POST /pay"
    assert (found.seen, found.alive()) == (131.0, True)
    thread.clear()
    assert found.requests() == []


def test_what_a_request_waited_for_is_not_said_of_the_next_one():
    thread = worker().mine().threads[0]
    begin(thread)
    thread.note("api.example")
    begin(thread, b"/next", 200.0)
    (request,) = seen().worker(1).requests()
    assert (request.what, request.doing) == ("POST /next", "")


def test_nothing_in_a_snapshot_can_be_changed():
    worker().mine()
    with pytest.raises(TypeError):
        seen().worker(1).state = 5


def test_it_is_found_by_the_pid_of_the_master_and_of_a_worker():
    worker().mine()
    with Snapshot.of_process(os.getpid()) as found:
        assert found.worker(1).pid == os.getpid()


def test_a_text_is_cut_between_characters():
    row = worker().mine()
    row.problem = "x" + 600 * "ü"
    assert seen().worker(1).problem == "x" + 255 * "ü"
    row.problem = ""
    assert seen().worker(1).problem == ""


def test_a_path_of_any_length_and_any_characters_fits_and_says_that_it_was_cut():
    thread = worker().mine().threads[0]
    begin(thread, b"/" + 100 * "é".encode())
    (request,) = seen().worker(1).requests()
    assert request.what == "POST /" + 51 * "é" + "[...]"
    begin(thread, ("/" + "ü" * 1000).encode("latin-1"), 200.0)
    assert seen().worker(1).requests()[0].what.startswith("POST /")


def test_counters_survive_a_respawn(dead):
    board = worker(2)
    row = board.mine()
    for _ in range(3):
        row.count(board.counter("RequestSlow"))
    row.count(board.counter("WorkerKilled"))
    row.pid, row.started = dead
    scoreboard.forget()
    board = worker(2)
    board.mine().count(board.counter("RequestSlow"))
    worker(1).mine().count(board.counter("RequestSlow"))
    assert seen().counters() == {"RequestSlow": 5, "WorkerKilled": 1}


def test_counts_of_many_threads_are_all_there():
    board = worker()
    row, counter = board.mine(), board.counter("ClientGone")
    threads = [
        threading.Thread(target=lambda: [row.count(counter) for _ in range(5000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row.count(counter)
    assert seen().counters() == {"ClientGone": 40001}


def test_the_table_of_names_is_the_same_for_all_and_may_be_full():
    one = worker(1)
    first = one.name("api.example:443")
    scoreboard.forget()
    other = worker(2)
    assert other.name("db.example:5432") == first + 1
    assert (other.name("api.example:443"), one.name("db.example:5432")) == (first, first + 1)
    numbers = {one.name(f"host-{n}") for n in range(NAMES)}
    assert max(numbers) == NAMES - 1
    assert one.name("one too many") == 1
    assert seen().names[:4] == ["", "other", "api.example:443", "db.example:5432"]
    assert len({one.counter(f"event {n}") for n in range(200)}) == 128


# Whose row it is


def test_the_successor_of_a_killed_worker_knows_what_that_was_doing(dead):
    row = worker(3).mine()
    row.state, row.failures = 2, 4
    begin(row.threads[0])
    row.threads[0].note("api.example")
    row.write_stacks("stacks", 128.5)
    row.seen = 131.0
    row.pid, row.started = dead
    scoreboard.forget()
    board = worker(3)
    row = board.mine()
    before = board.predecessor
    assert (before.pid, before.worker, before.seen) == (dead[0], 3, 131.0)
    assert [(each.what, each.doing) for each in before.requests] == [("POST /pay", "api.example")]
    assert (before.stacks.text, before.stacks.taken) == ("stacks", 128.5)
    assert (row.pid, row.requests(), row.stacks().text) == (os.getpid(), [], "")
    assert (row.state, row.failures) == (2, 4)  # what readiness goes by


def test_nothing_is_known_of_one_that_has_ended_in_an_orderly_way(dead):
    board = worker(3)
    row = board.mine()
    begin(row.threads[0])
    board.release()
    row.pid, row.started = dead
    scoreboard.forget()
    board = worker(3)
    assert board.mine().requests() == []
    assert board.predecessor is None


def test_a_pid_that_is_used_again_is_not_the_worker():
    row = worker(3).mine()
    begin(row.threads[0])
    row.started = 12
    assert not seen().worker(3).alive()
    scoreboard.forget()
    board = worker(3)
    board.mine()
    assert board.predecessor.pid == os.getpid()


def test_those_without_a_number_claim_a_row_of_the_dead_by_rank_then_a_new_one(dead):
    board = worker(0)
    mine = board.mine()
    assert mine.index == board.geometry.workers
    assert board.mine() is mine
    others = [board.row(mine.index + n) for n in range(1, board.geometry.spare)]
    others[0].pid, others[0].started = os.getppid(), procfs.start(os.getppid())
    others[1].pid, others[1].started = dead
    others[2].pid, others[2].started, others[2].failures = *dead, 3
    mine.pid, mine.started = others[0].pid, others[0].started
    scoreboard.forget()
    assert worker(0).mine().index == others[2].index
    others[2].pid, others[2].started, others[2].failures = *dead, 0
    scoreboard.forget()
    assert worker(0).mine(lambda row: row.index).index == others[2].index
    for row in (mine, *others):
        row.pid, row.started = os.getppid(), procfs.start(os.getppid())
    scoreboard.forget()
    assert worker(0).mine() is None


def test_what_the_app_forks_has_no_row():
    class Forked(Instance):
        def forked_by_app(self):
            return True

    board = worker(1)
    row = board.mine()
    begin(row.threads[0])
    servers.use(Forked(1))
    child = os.fork()
    if child == 0:
        os._exit(0 if Scoreboard.known() is board and board.mine() is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [request.what for request in row.requests()] == ["POST /pay"]


# Where it lies


def test_its_space_is_there_before_it_is_mapped_and_fits_the_instance():
    board = worker(1, workers=3, threads=5)
    about = os.stat(board.path)
    assert about.st_blocks * 512 >= about.st_size == board.geometry.size
    assert board.geometry.key() == (3, opening.SPARE, 5)
    assert seen().header.worker_count == 3


def test_a_thousand_workers_with_sixteen_threads():
    board = worker(1000, workers=1000, threads=16)
    row = board.mine()
    thread = row.threads[15]
    begin(thread)
    board.waits_for[thread.index] = board.name("api.example:443")
    (request,) = seen().worker(1000).requests()
    assert request.what == "POST /pay"
    assert board.geometry.size < 12 << 20
    start = time.perf_counter()
    found = seen()
    assert len(found.workers) == 1000
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_worker_without_room_says_so_and_leaves_nothing(base, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable, match=f"no room in {base} .*{os.strerror(number)}"):
        worker()
    instance.leave()
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_master_without_any_room_has_memory_for_its_workers(monkeypatch, number):
    """A full /dev/shm; a limit of the size of files, which goes for memory with a descriptor,
    too.
    """

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = len(os.listdir("/proc/self/fd"))
    board = master()
    board.header.served = 1
    assert board.why_not_visible
    assert board.header.geometry() == board.geometry
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # that of the directory


def test_a_master_without_a_place_has_memory_for_its_workers(monkeypatch):
    def none(*_, **__):
        msg = "there is no folder for it"
        raise Unavailable(msg)

    monkeypatch.setattr(instance, "of_workers", none)
    board = master()
    assert (board.path, board.why_not_visible) == ("", "there is no folder for it")
    servers.use(Instance(2))
    child = os.fork()
    if child == 0:
        mine = Scoreboard.of_this_instance()
        mine.mine().state = 3
        with mine.lock() as locked:
            os._exit(0 if locked else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert board.worker(2).state == 3
    assert board.worker(2).pid == child


def test_a_master_makes_one_for_its_workers_which_inherit_it(base):
    board = master()
    servers.use(Instance(2))
    child = os.fork()
    if child == 0:
        os.closerange(3, 256)  # as apps do that make a daemon of themselves
        Scoreboard.of_this_instance().mine().state = 3
        with Scoreboard.of_this_instance().lock() as locked:
            os._exit(1 if locked else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert (board.worker(2).state, board.worker(2).pid) == (3, child)
    assert board.path.startswith(str(base))


def test_a_worker_that_finds_one_made_by_another_takes_part():
    first = worker(1)
    scoreboard.forget()
    second = worker(2)
    assert second is not first
    second.mine().state = 3
    assert first.worker(2).state == 3


def test_one_of_another_version_or_with_fewer_workers_is_made_again():
    os.close(instance.directory().create(NAME, 100))
    assert worker().geometry.workers == 4
    scoreboard.forget()
    assert worker(workers=9).geometry.workers == 9
    scoreboard.forget()
    assert worker(workers=2).geometry.workers == 9


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_stands_in_its_place_is_not_used(kind):
    path = f"{instance.directory().path}/{NAME}"
    {
        "symlink": lambda: os.symlink("/etc/passwd", path),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
    }[kind]()
    with pytest.raises((OSError, Unavailable)):
        worker()
    with pytest.raises((OSError, Unavailable)):
        seen()


def test_the_last_one_that_leaves_removes_it(base):
    worker().mine()
    scoreboard.leave()
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("what", ["it has served", "its load has failed"])
def test_a_lone_worker_leaves_what_its_successor_has_to_know(what):
    board = worker(0, workers=0)
    if what == "it has served":
        board.header.ever_served = 1
    else:
        board.mine().failures = 3
    scoreboard.leave()
    again = worker(0, workers=0)
    assert (again.header.ever_served, again.mine().failures) in ((1, 0), (0, 3))


def test_one_that_is_left_stays_while_another_process_has_it(base):
    worker().mine()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        instance.directory()  # a lock of its own
        os.write(write, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(read, 1)
    scoreboard.leave()
    assert [path.name for path in base.glob("*/*")] == [NAME]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    worker().mine()
    scoreboard.leave()
    assert list(base.iterdir()) == []


# A reload


def test_a_reload_keeps_whether_it_has_served_the_counters_and_what_killed_workers_did(dead):
    board = master(threads=3)
    board.header.ever_served = board.header.served = board.header.ending = 1
    board.header.failed_loads, board.header.draining = 2, 55.0
    row = board.worker(3)
    row.state, row.failures, row.error = 4, 3, "ImportError"
    row.pid, row.started = dead
    row.count(board.counter("RequestSlow"))
    begin(row.threads[2])
    row.write_stacks("stacks", 128.5)
    board.queue[0] = 1.75
    rows = QUEUE_BYTES // 8
    board.queue[rows], board.queue[rows + 8] = 40.0, 2.0
    again = master(again=True, workers=3, threads=8)
    assert again.queue[0] == 1.75
    assert sum(again.queue[rows::8]) == 42.0
    head = again.header
    assert (head.ever_served, head.failed_loads) == (1, 2)
    assert (head.served, head.ending, head.draining) == (0, 0, 0.0)
    assert seen().counters() == {"RequestSlow": 1}
    servers.use(Instance(3, workers=3, threads=8))
    row = again.mine()
    assert (row.state, row.failures, row.error) == (0, 0, "")
    assert [request.what for request in again.predecessor.requests] == ["POST /pay"]
    assert again.predecessor.stacks.text == "stacks"
    assert board.geometry.key() != again.geometry.key()


def test_of_a_reload_that_finds_nothing_it_is_taken_that_it_has_served():
    assert master(again=False).header.ever_served == 0
    os.truncate(Scoreboard.of_this_instance().path, 5000)
    assert master(again=True).header.ever_served == 1


# From outside


def foreign(head=b"", size=0):
    fd = instance.directory().open(NAME, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(fd, head)
    os.ftruncate(fd, max(size, len(head)))
    os.close(fd)


def test_other_files_are_not_taken_for_one():
    for head in (b"", b"x" * 100, os.urandom(8192)):
        foreign(head)
        with pytest.raises(NotAScoreboard, match="is not a scoreboard"):
            seen()


def test_one_that_was_cut_short_is_not_read_and_may_be_while_it_is():
    board = worker()
    board.mine()
    found = seen()
    os.truncate(board.path, 5000)
    with pytest.raises(NotAScoreboard, match="cut short"):
        found.refresh()
    assert found.worker(1).requests() == []
    assert found.worker(1).stacks().text == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((8, 99), "another version"),
        ((12, 7), "damaged"),
        ((12, 0xFFFFFFFF), "damaged"),
        ((20, 0), "damaged"),
    ],
)
def test_a_header_that_cannot_be_is_not_believed(change, reason):
    board = worker()
    at, value = change
    struct.pack_into("=I", board.memory, at, value)
    with pytest.raises(NotAScoreboard, match=reason):
        seen()


def test_any_bytes_in_the_rows_are_read_without_an_error():
    board = worker()
    board.mine()
    geometry = board.geometry
    first = board.header.counters_used
    for _ in range(5):
        board.memory[geometry.rows_at :] = os.urandom(geometry.size - geometry.rows_at)
        board.memory[152:1000] = os.urandom(848)
        found = seen()
        for row in found.rows:
            _ = (row.error, row.problem, row.alive(), row.requests(), row.stacks(), repr(row))
        _ = (found.names, found.counters(), found.header.off_reason)
    assert first == 0


def test_rows_are_never_read_torn():
    """A child writes as fast as it can; what is read is always one of the things that it wrote."""
    board = worker()
    child = os.fork()
    if child == 0:
        row = board.mine()
        thread = row.threads[0]
        for start in itertools.count(1):  # no two requests of a thread begin at the same time
            text = str(start % 10)
            row.error = 300 * text
            thread.begin(start, 0.0, b"GET", 80 * text.encode(), start)
            thread.note(70 * text)
            for _ in range(start % 3 * 200):  # or not even two looks would see the same
                pass
    try:
        while not board.worker(1).pid:
            time.sleep(0.01)
        found = seen()
        texts, requests = set(), 0
        end = time.monotonic() + 2
        while time.monotonic() < end:
            found.refresh()
            row = found.worker(1)
            if row.settled():  # else the writer was interrupted in the middle all the time
                texts.add(row.error)
            for request in row.requests():
                digit = str(int(request.begun) % 10)
                assert request.what in ("GET " + 80 * digit, "? ?")
                assert request.doing in ("", 70 * digit)
                requests += request.what != "? ?"
        assert texts <= {"", *(300 * str(digit) for digit in range(10))}
        assert requests > 10
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_writer_that_was_killed_in_the_middle_does_not_stop_the_reader():
    board = worker()
    row = board.mine()
    row.error = "before"
    struct.pack_into("=HH", board.memory, row.at + 128, 77, 3)  # its end mark never came
    begin(row.threads[0])
    struct.pack_into("=d", board.memory, next(iter(board.thread_places(0))), 5.0)
    start = time.perf_counter()
    found = seen().worker(1)
    assert found.error == "bef"
    assert [request.what for request in found.requests()] == ["? ?"]
    assert time.perf_counter() - start < 0.2
    row.error = "after"
    assert seen().worker(1).error == "after"


def test_it_is_drained_from_outside_once():
    board = worker()
    drain(instance.directory(), 55.0)
    assert board.header.draining == 55.0
    drain(instance.directory(), 77.0)
    assert board.header.draining == 55.0


def test_root_drains_as_the_user_of_the_instance(base, in_child, other_user):
    open_to_all(base)

    def make():
        servers.use(Instance(1))
        Scoreboard.of_this_instance().mine()
        return instance.directory().path

    path = in_child(make, other_user)
    from resilient_wsgi.shm.directory import open_private

    directory = open_private(path, other_user, read_only=True)
    drain(directory, 55.0)
    assert Snapshot(directory).header.draining == 55.0
    assert os.geteuid() == 0
    # what lies in its place is not written to: the user may not
    theirs = base / "root"
    theirs.write_bytes(b"x" * 100)
    os.unlink(f"{path}/{NAME}")
    os.link(theirs, f"{path}/{NAME}")
    with pytest.raises((Unavailable, NotAScoreboard, PermissionError)):
        drain(directory, 77.0)
    assert theirs.read_bytes() == b"x" * 100


def test_a_master_that_is_root_makes_it_as_the_user_of_its_workers(base, in_child, other_user):
    open_to_all(base)
    server = Instance(role=MASTER)
    server.uid = other_user
    servers.use(server)
    board = Scoreboard.of_this_instance()
    about = os.stat(board.path)
    assert (about.st_uid, os.stat(os.path.dirname(board.path)).st_uid) == (other_user, other_user)
    assert os.geteuid() == 0
    servers.use(Instance(2))

    def work():
        mine = Scoreboard.of_this_instance()
        mine.mine().state = 3
        with Snapshot(instance.directory()) as found, mine.lock() as locked:
            return mine is board, found.worker(2).state, locked

    assert in_child(work, other_user) == "(True, 3, True)"
    assert board.worker(2).state == 3
    servers.use(server)
    instance.end()
    assert list(base.iterdir()) == []


def test_users_of_one_instance_that_nobody_foresaw_have_one_each(base, in_child, other_user):
    open_to_all(base)
    worker(1).mine().state = 3

    def work():
        scoreboard.forget()
        Scoreboard.of_this_instance().mine().state = 4
        return seen().worker(1).state

    assert in_child(work, other_user) == "4"
    assert seen().worker(1).state == 3


# Locks


def test_a_lock_dies_with_its_holder():
    board = worker()
    code = (
        f"import fcntl, os; f = os.open({board.path!r}, os.O_RDWR); "
        "fcntl.lockf(f, fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with board.lock() as locked:
        assert locked


def test_a_lock_that_is_held_for_ever_is_not_waited_for_for_ever():
    board = worker()
    code = (
        f"import fcntl, os; f = os.open({board.path!r}, os.O_RDWR); "
        "fcntl.lockf(f, fcntl.LOCK_EX); print('x', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    start = time.monotonic()
    with board.lock() as locked:
        assert not locked
    assert not board.recycle(3, 100.0)
    assert board.name("api.example") == 1
    assert time.monotonic() - start < 6
    holder.communicate(b"\n")
    assert board.recycle(3, 100.0)
    assert board.name("api.example") == 2


def test_the_rate_of_recycling_is_counted_over_all():
    first = worker(1)
    scoreboard.forget()
    second = worker(2)
    now = 1000.0
    granted = [board.recycle(3, now) for board in (first, second, first, second)]
    assert granted == [True, True, True, False]
    assert not first.recycle(0, now)
    # one that has read the clock before the others, and comes after them
    assert not first.recycle(3, now - 0.01)
    assert first.recycle(3, now + 61)


def test_probes_are_counted_over_all():
    first = worker(1)
    scoreboard.forget()
    second = worker(2)
    assert [board.take_probe(7.5, 2) for board in (first, second, first)] == [True, True, False]
    assert second.take_probe(8.0, 2)


def test_no_two_sections_overlap():
    for key in ((1, 0, 1), (4, 8, 2), (0, 64, 16), (1000, 8, 16), (3, 0, 7)):
        geometry = Geometry(*key)
        places = geometry.rows * geometry.threads
        ends = [
            (geometry.rows_at, geometry.rows * ROW_BYTES),
            (geometry.waits_at, 2 * places),
            (geometry.since_at, 8 * places),
            (geometry.threads_at, places * THREAD_BYTES),
            (geometry.dumps_at, geometry.rows * DUMP_BLOCK_BYTES),
            (geometry.names_at, NAMES * 128),
        ]
        for (at, size), (following, _) in zip(ends, [*ends[1:], (geometry.size, 0)]):
            assert at + size <= following
        assert not any(at % 8 for at, _ in ends)
    assert Header.RECYCLED_AT + Header.RECYCLED.size <= Header.PROBES_AT
