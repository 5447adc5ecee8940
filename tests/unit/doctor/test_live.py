"""What is seen of running processes: connections, waits, cgroups, files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from resilient_wsgi.doctor.live import attach, cgroup, connections, instance, look
from resilient_wsgi.doctor.machine import Machine
from resilient_wsgi.doctor.subject import Subject
from resilient_wsgi.host import procfs

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F:1F90", "127.0.0.1:8080"),
        ("0000000000000000FFFF00000100007F:0050", "127.0.0.1:80"),
        ("00000000000000000000000001000000:01BB", "[::1]:443"),
    ],
)
def test_addresses_of_proc_net_tcp(text, address):
    if sys.byteorder != "little":
        pytest.skip("the words are in the order of the machine")
    assert connections._address(text) == address


@linux
@pytest.mark.parametrize("timeout", [None, 30])
def test_the_socket_that_a_thread_waits_for(timeout):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout) as waiting:
            thread = threading.Thread(target=waiting.recv, args=[1], daemon=True)
            thread.start()
            inode = os.fstat(waiting.fileno()).st_ino
            found = lambda: connections.waited_for(os.getpid()).get(thread.native_id)  # noqa: E731
            if os.uname().machine in ("x86_64", "aarch64"):
                assert until(lambda: found() and found().inode == inode)
                assert found() == found()  # it has not slept again: one wait
            known = connections.of_namespace(os.getpid())
            assert known[inode].peer == f"127.0.0.1:{server.getsockname()[1]}"
            listening = known[os.fstat(server.fileno()).st_ino]
            assert listening.listens
            assert not known[inode].listens
            mine = connections.of_processes([os.getpid()], known)
            assert {inode, listening.inode} <= {each.inode for each in mine}
            server.accept()[0].close()
            thread.join(5)


@linux
def test_a_process_that_is_gone_has_nothing():
    gone = 2**22 + 1
    assert connections.waited_for(gone) == {}
    assert connections.inodes([gone]) == set()
    assert cgroup.facts(gone) == {}
    assert look.age_seconds(gone) == 0


def test_the_tightest_limit_of_all_cgroups_holds(monkeypatch):
    top = f"{cgroup.ROOT}/a"
    files = {
        "/proc/7/cgroup": "0::/a/b\n",
        f"{top}/b/memory.max": "max\n",
        f"{top}/memory.max": "1073741824\n",
        f"{top}/b/pids.max": "50\n",
        f"{top}/pids.max": "90\n",
        f"{top}/b/pids.current": "40\n",
        f"{top}/b/memory.events": "low 0\noom 5\noom_kill 3\n",
        f"{top}/b/cpu.stat": "usage_usec 1\nnr_periods 100\nnr_throttled 7\n",
    }
    monkeypatch.setattr(cgroup.procfs, "read", lambda path: files.get(path, ""))
    monkeypatch.setattr(cgroup.os.path, "exists", lambda path: path == f"{top}/b/cgroup.procs")
    assert cgroup.facts(7) == {
        "memory.max": "1073741824",
        "pids.max": "50",
        "pids.current": "40",
        "memory.oom_kill": "3",
        "cpu.periods": "100",
        "cpu.throttled": "7",
    }


@pytest.mark.parametrize("text", ["", "9:memory:/a\n", "0::/../../etc\n"])
def test_without_a_cgroup_of_version_2_there_are_no_facts(monkeypatch, text):
    monkeypatch.setattr(cgroup.procfs, "read", lambda _path: text)
    assert cgroup.facts(7) == {}


def test_an_example_reads_as_it_is_written():
    live = instance.described(
        "master = 7 age=90\nworker = 8 state=D descriptors=5 most=9 app=failed_to_load\n"
        "queue = /run/a.sock depth=1/2 holders=0\nrequest = 8 seconds=3.5 what=/x\n"
        "stuck = pipe 4 threads=2 reader=cat\nwait = a:1 threads=3\nchanged = /etc/u.ini\n"
        "program = /bin/u (deleted)\nchildren = Z number=2\npids.max = 10\nunknown\n"
    )
    assert live.processes == [
        instance.Process(7, age=90),
        instance.Process(8, "D", 0, 5, 9, "failed to load"),
    ]
    assert live.queues == [instance.Queue("/run/a.sock", 1, 2, 0)]
    assert live.requests == [instance.Running(8, 3.5, "/x")]
    assert live.stuck == [instance.Stuck(2, "pipe 4", "cat")]
    assert (live.waits, live.changed, live.children) == (
        {"a:1": instance.Wait(3, 3)},
        ["/etc/u.ini"],
        {"Z": 2},
    )
    assert live.program == "/bin/u (deleted)"
    assert (live.number("pids.max"), live.number("pids.current")) == (10, None)


@linux
def test_this_process_can_be_looked_at():
    subject = Subject(Machine())
    live = look.look(subject, os.getpid(), [])
    assert live.master.pid == os.getpid()
    assert live.master.descriptors >= 3
    assert live.program == procfs.exe(os.getpid())
    assert live.number("close_wait") is not None


@linux
@pytest.mark.parametrize("words", [["sh", "-c", "uwsgi --ini a.ini & wait"], ["bash"]])
def test_a_shell_is_no_server_whatever_it_starts(monkeypatch, words):
    monkeypatch.setattr(attach, "_strings", lambda _path: words)
    with subprocess.Popen(["sleep", "30"]) as process:
        assert not attach.attach(Subject(Machine()), process.pid, [os.getpid()])
        process.kill()


@linux
@pytest.mark.parametrize("words", [["--ini", "app.ini:web"], ["--ini=app.ini:web"]])
def test_the_section_of_a_running_instance_is_read_where_its_file_lies(
    tmp_path, monkeypatch, words
):
    (tmp_path / "app.ini").write_text("[web]\nproces = 3\n")
    monkeypatch.setattr(
        attach, "_strings", lambda path: ["uwsgi", *words] if "cmdline" in path else []
    )
    subject = Subject(Machine())
    with subprocess.Popen(["sleep", "30"], cwd=tmp_path) as process:
        assert attach.attach(subject, process.pid, [])
        process.kill()
    (config,) = subject.uwsgi
    assert config.last("proces").location.file == str(tmp_path / "app.ini")
    assert not any(each.asked for each in subject.not_looked)


@linux
def test_what_is_in_another_network_namespace_is_not_taken_for_this_one(monkeypatch):
    monkeypatch.setattr(attach, "same_namespace", lambda _pid, kind: kind != "net")
    monkeypatch.setattr(look, "same_namespace", lambda _pid, kind: kind != "net")
    subject = Subject(Machine({"net.core.somaxconn": "128"}))
    assert not attach.attach(subject, os.getpid(), [])
    assert subject.machine.number("net.core.somaxconn") is None
    assert subject.live.queues == []
    assert any("namespace" in each.why for each in subject.not_looked)
