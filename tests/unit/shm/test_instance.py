from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from resilient_wsgi import servers
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.host import procfs
from resilient_wsgi.servers.base import MASTER
from resilient_wsgi.shm import instance
from resilient_wsgi.shm.folders import bases
from resilient_wsgi.shm.naming import Name, parse
from tests.unit.shm.conftest import Worker, open_to_all


def own_name(master=None):
    master = master or os.getpid()
    return Name(os.geteuid(), procfs.pid_namespace(), master, procfs.start(master))


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_it_is_the_users_own_and_named_by_its_instance(base):
    directory = instance.directory()
    about = os.stat(directory.path)
    assert stat.S_IMODE(about.st_mode) == 0o700
    assert parse(os.path.basename(directory.path)) == own_name()
    assert os.path.dirname(directory.path) == str(base)
    assert not os.get_inheritable(directory.fd)
    assert instance.directory() is directory


def test_all_processes_of_an_instance_have_the_same(base, in_child):
    path = instance.directory().path
    assert in_child(lambda: instance.directory().path) == path
    os.mkdir(f"{path}x")
    assert in_child(lambda: instance.directory().fd) != "-1"


def test_workers_that_start_together_agree(base, in_child):
    with ThreadPoolExecutor(8) as pool:
        assert (
            len(set(pool.map(lambda _: in_child(lambda: instance.directory().path), range(24))))
            == 1
        )
    assert len(os.listdir(base)) == 1


@pytest.mark.parametrize("kind", ["file", "fifo", "symlink", "directory"])
def test_a_name_that_is_taken_is_passed_over_and_all_agree(base, in_child, kind, tmp_path_factory):
    path = base / own_name().spellings[0]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    elsewhere.chmod(0o700)
    {
        "file": path.touch,
        "fifo": lambda: os.mkfifo(path),
        "symlink": lambda: path.symlink_to(elsewhere),
        "directory": lambda: path.mkdir(mode=0o777),
    }[kind]()
    directory = instance.directory()
    assert directory.path == str(base / own_name().spellings[1])
    assert in_child(lambda: instance.directory().path) == directory.path
    assert instance.find(os.getpid()).path == directory.path
    assert os.listdir(elsewhere) == []


def test_a_directory_of_another_user_is_passed_over(base, in_child, other_user):
    open_to_all(base)
    path = str(base / own_name().spellings[0])
    assert in_child(lambda: os.mkdir(path, 0o700), other_user) == "None"
    assert instance.directory().path == str(base / own_name().spellings[1])


def test_the_folder_is_that_of_the_service_if_it_is_fit(tmp_path):
    open_to_others = tmp_path / "open"
    open_to_others.mkdir()
    open_to_others.chmod(0o777)  # without the sticky bit anybody could rename what is ours
    environment = {"RUNTIME_DIRECTORY": f"relative:{open_to_others}:{tmp_path}/missing:{tmp_path}"}
    assert next(bases(environment, os.geteuid())) == str(tmp_path)
    if os.geteuid():
        assert str(tmp_path) not in bases({"XDG_RUNTIME_DIR": "/run/user/0"}, os.geteuid())
    assert "/dev/shm" in bases({}, os.geteuid())


def test_where_nothing_can_be_had_the_reason_is_said(base):
    for spelling in own_name().spellings:
        (base / spelling).touch()
    with pytest.raises(
        Unavailable, match=r"no private directory for shared files: .* belongs to another user"
    ):
        instance.directory()


def test_a_root_master_makes_none_and_each_user_has_its_own(base, in_child, other_user):
    open_to_all(base)
    servers.use(Worker(os.getpid(), MASTER))
    with pytest.raises(Unavailable, match="the master is root"):
        instance.directory()
    servers.use(Worker(os.getpid()))
    path = in_child(lambda: instance.directory().path, other_user)
    assert parse(os.path.basename(path)).uid == other_user
    assert instance.directory().path != path


def test_it_is_opened_again_after_the_app_has_closed_its_descriptor(base, in_child):
    instance.directory()

    def work():
        os.dup2(os.open("/dev/null", os.O_RDONLY), instance.directory().fd)
        return instance.directory().names()

    assert in_child(work) == "[]"


def test_the_last_to_leave_removes_it_if_it_is_empty(base):
    os.close(instance.directory().create("kept"))
    instance.leave()
    assert len(os.listdir(base)) == 1
    instance.directory().unlink("kept")
    instance.leave()
    assert os.listdir(base) == []


def test_leaving_takes_nothing_from_others(base, in_child):
    path = instance.directory().path

    def come_and_go():
        instance.directory()
        instance.leave()

    in_child(come_and_go)
    assert os.path.isdir(path)


def left_over(base, name):
    path = base / name.spellings[0]
    path.mkdir(mode=0o700)
    (path / "file").touch()
    return path


def test_what_a_dead_instance_left_is_swept(base):
    dead = left_over(base, own_name()._replace(master_pid=dead_pid(), start=1))
    reused = left_over(base, own_name()._replace(start=1))  # its pid is another process's by now
    living = left_over(base, own_name(os.getppid()))
    others = left_over(base, own_name()._replace(uid=os.geteuid() + 1, start=1))
    instance.directory()
    assert [path.exists() for path in (dead, reused, living, others)] == [False, False, True, True]


def test_what_somebody_holds_is_not_swept_in_any_pid_namespace(base):
    dead = left_over(base, own_name()._replace(master_pid=dead_pid(), start=1))
    other_namespace = left_over(base, own_name()._replace(namespace=1))
    forgotten = left_over(base, own_name()._replace(namespace=2))
    fds = [os.open(path, os.O_RDONLY) for path in (dead, other_namespace)]
    for fd in fds:
        fcntl.flock(fd, fcntl.LOCK_SH)
    instance.directory()
    for fd in fds:
        os.close(fd)
    assert [path.exists() for path in (dead, other_namespace, forgotten)] == [True, True, False]


def test_names_that_another_user_made_up_do_not_disturb_the_sweep(base):
    for name in ("1-99999999999999999999-1", "1-4294967295-1", "0-0-0", "1-1-1-zz"):
        (base / f"resilient_wsgi-{os.geteuid()}-{name}").touch()
    (base / f"resilient_wsgi-{os.geteuid()}-1-٣-1").symlink_to("/etc")
    before = len(os.listdir(base))
    instance.directory()
    assert len(os.listdir(base)) == before + 1


def test_it_is_found_by_the_pid_of_the_master_and_of_a_worker(base):
    directory = instance.directory()
    os.close(directory.create("kept"))
    child = os.fork()
    if not child:
        os.read(os.pipe()[0], 1)
    try:
        for pid in (os.getpid(), child):
            found = instance.find(pid)
            assert (found.path, found.names(), found.read_only) == (directory.path, ["kept"], True)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize("how", ["among what it has open", "by name"])
def test_it_is_found_where_its_workers_cannot_see_when_their_master_was_started(
    base, how, monkeypatch
):
    with monkeypatch.context() as hidden:
        hidden.setattr(procfs, "start", lambda _: 0)
        directory = instance.directory()
    if how == "by name":
        monkeypatch.setattr("resilient_wsgi.shm.finding._among_descriptors", lambda *_: None)
    assert parse(os.path.basename(directory.path)).start == 0
    assert instance.find(os.getpid()).path == directory.path


def test_what_cannot_be_found_says_why(base, in_child, other_user):
    with pytest.raises(Unavailable, match="has no shared files"):
        instance.find(os.getpid())
    with pytest.raises(ProcessLookupError):
        instance.find(dead_pid())
    pid = os.getpid()
    assert "PermissionError" in in_child(lambda: instance.find(pid), other_user)
