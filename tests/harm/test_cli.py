"""The commands that look at an instance: how it is named, and what is said where nothing can be
seen.
"""

import contextlib
import errno
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bench.readiness.cases import instance, options
from lab.processes import wait_until
from resilient_wsgi.cli import main, target
from resilient_wsgi.host import sockets
from resilient_wsgi.shm.layout import Header
from tests.scoreboards import of_this_process

COMMAND = [sys.executable, "-m", "resilient_wsgi"]
MASTER = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0)) if sys.argv[1] == "listens" else None
worker = os.fork()
if not worker:
    time.sleep(60)
print(worker, flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def master(*how):
    """Run a process that listens and has forked a worker; yield both pids."""
    process = subprocess.Popen(
        [sys.executable, "-c", MASTER, *(how or ("listens",))], stdout=subprocess.PIPE, text=True
    )
    worker = 0
    try:
        worker = int(process.stdout.readline())
        yield process.pid, worker
    finally:
        for pid in filter(None, (worker, process.pid)):
            os.kill(pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def run(*arguments, **more):
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False, **more
    )
    return done.returncode, done.stdout, done.stderr


def no_such_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_leads_to_its_master_and_a_master_to_itself():
    with master() as (pid, worker):
        assert target.master_of(worker) == target.master_of(pid) == pid
        assert target.family(pid) == [pid, worker]


def test_the_process_that_started_a_server_is_not_taken_for_its_master():
    # whatever the parent listens to, it was not forked from it
    listener_of_ours = sockets.listening_descriptors()
    assert isinstance(listener_of_ours, tuple)
    with master() as (pid, _):
        assert os.getpid() not in (target.master_of(pid), *target.family(pid))


def test_a_process_that_forked_another_without_a_socket_in_common_is_not_its_master():
    with master("does not listen") as (_, child):
        assert target.master_of(child) == child


@pytest.mark.parametrize("by_file", [False, True], ids=["PID", "--pidfile"])
@pytest.mark.parametrize("verb", ["status", "ready", "drain", "report", "stacks"])
def test_every_verb_names_an_instance_in_the_same_two_ways_and_ends_with_2_where_there_is_none(
    verb, by_file, tmp_path
):
    gone = no_such_pid()
    (tmp_path / "pid").write_text(f"{gone}\n")
    code, out, err = run(verb, f"--pidfile={tmp_path / 'pid'}" if by_file else str(gone))
    assert (code, out) == (2, "")
    assert err == f"resilient-wsgi {verb}: there is no process {gone}\n"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "No such file or directory; is the instance running?"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.write_text("uwsgi \x1b[31m"), r"holds 'uwsgi \x1b[31m', not a pid"),
        (lambda path: path.write_text(""), "holds '', not a pid"),
        (os.mkfifo, "is no regular file"),
        (os.mkdir, "is no regular file"),
    ],
    ids=["none", "loop", "text", "empty", "FIFO", "folder"],
)
def test_a_pidfile_that_is_none_is_named_and_nothing_waits_for_it(make, problem, tmp_path):
    make(tmp_path / "pid")
    began = time.monotonic()
    with pytest.raises(target.CannotLook) as caught:
        target.read_pidfile(str(tmp_path / "pid"))
    assert problem in str(caught.value)
    assert ("is the instance running?" in str(caught.value)) is ("No such file" in problem)
    assert time.monotonic() - began < 1


def test_a_pidfile_that_may_not_be_read_asks_for_another_user(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(target.os, "open", refuse)
    with pytest.raises(target.CannotLook) as caught:
        target.read_pidfile("/run/mysite.pid")
    assert str(caught.value) == (
        "pidfile /run/mysite.pid: Permission denied; run this as the user of the instance, or as "
        "root"
    )


def test_a_process_that_has_ended_is_said_to_have_ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(target.CannotLook, match=f"process {process.pid} has ended"):
            target.check(process.pid)
    finally:
        process.wait()


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**70])
def test_a_number_that_is_no_pid_is_no_process(pid):
    with pytest.raises(target.CannotLook, match="there is no process"):
        target.check(pid)


def as_nobody(look):
    """Run `look` in a child as another user; return what it prints and returns."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    uid, (read, write) = pwd.getpwnam("nobody").pw_uid, os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.dup2(write, 1)
            os.dup2(write, 2)
            sys.stdout = sys.stderr = open(write, "w", buffering=1)  # noqa: SIM115
            os.setuid(uid)
            print(f"-> {look()}")
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("verb", ["status", "ready", "drain", "report"])
def test_a_strangers_process_is_said_to_be_out_of_reach_with_its_user_and_the_remedy(verb):
    main([verb, str(no_such_pid())])  # imports what another user may not be able to read
    with master() as (pid, _):
        said = as_nobody(lambda: main([verb, str(pid)]))
    assert said.startswith(f"resilient-wsgi {verb}: no permission to look at process {pid} (")
    assert said.endswith("which runs as root: run this as that user, or as root\n-> 2\n")


def test_no_verb_and_a_wrong_verb_show_the_verbs_and_the_nearest():
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "usage: resilient-wsgi VERB" in err
    assert all(f"  {verb} " in err for verb in ("drain", "ready", "status", "unstick"))
    code, out, err = run("stat", "1")
    assert (code, out) == (2, "")
    assert err.startswith("resilient-wsgi: unknown verb 'stat'; did you mean 'status'?\n")


@pytest.mark.parametrize("closed", ["gone", "full", "closed"])
def test_a_standard_output_that_takes_nothing_changes_no_exit_code_and_raises_nothing(closed):
    redirect = {"gone": "| true", "full": "> /dev/full", "closed": ">&-"}[closed]
    with master() as (pid, _):
        line = f"{{ {' '.join(COMMAND)} status {pid}; echo $? >&2; }} {redirect}"
        done = subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.stderr == "0\n"


def test_main_returns_2_for_what_cannot_be_looked_at(capsys):
    assert main(["status", str(no_such_pid())]) == 2
    assert "there is no process" in capsys.readouterr().err


@pytest.mark.servers
def test_the_pid_of_a_uwsgi_worker_names_its_instance(capsys):
    with instance(options(processes=2)) as running:
        assert wait_until(lambda: main(["ready", "--workers=2", str(running.server.pid)]) == 0, 15)
        capsys.readouterr()
        worker = running.server.workers()[1]
        assert main(["ready", str(worker)]) == 0
        assert main(["status", str(worker)]) == 0
        assert f"master {running.server.pid}, 2 workers" in capsys.readouterr().out


@pytest.mark.servers
def test_what_runs_without_the_library_is_said_to_and_its_listen_queue_is_shown_all_the_same(
    capsys,
):
    with instance(options(protected=False, processes=1)) as running:
        assert main(["ready", str(running.server.pid)]) == 2
        assert (
            "runs no instance with `shared-import = resilient_wsgi.uwsgi`"
            in capsys.readouterr().err
        )
        assert main(["status", str(running.server.pid)]) == 0


def test_a_process_that_is_no_server_is_said_to_be_none(capsys):
    with master("does not listen") as (_, child):
        assert main(["status", str(child)]) == 2
        assert f"process {child} (python" in (said := capsys.readouterr().err)
        assert "is no server: it listens to nothing and has forked no workers" in said


def test_a_scoreboard_of_another_version_or_a_damaged_one_is_not_believed(capsys):
    with of_this_process(1) as board:
        magic, version, workers, *rest = Header.FIXED.unpack_from(board.memory)
        for fields, said in (
            ((magic, version + 1, workers), "was started with another version of resilient_wsgi"),
            ((magic, version, 1 << 30), "has a scoreboard whose header is damaged"),
            ((b"another", version, workers), "is not a scoreboard of resilient_wsgi"),
        ):
            Header.FIXED.pack_into(board.memory, 0, *fields, *rest)
            for verb in ("ready", "drain"):
                assert main([verb, str(os.getpid())]) == 2
                assert said in capsys.readouterr().err
        assert not board.header.draining


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_a_file_that_is_in_the_place_of_a_scoreboard_is_not_written_to(make):
    with of_this_process(1) as board, tempfile.NamedTemporaryFile(dir="/dev/shm") as precious:
        precious.write(b"x" * 4096)
        precious.flush()
        os.unlink(board.path)
        make(precious.name, board.path)
        assert main(["drain", str(os.getpid())]) == 2
        assert Path(precious.name).read_bytes() == b"x" * 4096
        os.unlink(board.path)
