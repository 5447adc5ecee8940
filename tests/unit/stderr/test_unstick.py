"""First aid from outside: real processes that are stuck in a real pipe."""

import argparse
import os
import subprocess
import sys

import pytest

from resilient_wsgi.cli import unstick
from resilient_wsgi.cli.target import CannotLook
from resilient_wsgi.host import pipes

STUCK = """
import os, threading
def write():
    while True: os.write(2, b"x" * 1000)
if os.fork():
    os.wait()
threading.Thread(target=write).start()
write()
"""


@pytest.fixture
def parent(pipe, wait_until):
    """A process whose child has two threads that are stuck in the pipe."""
    process = subprocess.Popen([sys.executable, "-c", STUCK], stderr=pipe.write_end)
    try:
        wait_until(lambda: sum(len(found.threads) for found in pipes.full_logs(process.pid)) == 2)
        yield process
    finally:
        for pid in reversed(pipes.tree(process.pid)):
            os.kill(pid, 9)
        process.wait()


def run(*words):
    parser = argparse.ArgumentParser()
    unstick.add_arguments(parser)
    return unstick.run(parser.parse_args([str(word) for word in words]))


def test_it_says_which_threads_are_stuck_in_which_pipe_and_who_should_read_it(parent, pipe, capsys):
    assert run(parent.pid) == 1
    said = capsys.readouterr().out
    (found,) = pipes.full_logs(parent.pid)
    assert found.inode == os.fstat(pipe.write_end).st_ino
    assert f"pipe:[{found.inode}] holds {found.fill_bytes} of 65536 bytes" in said
    assert found.fill_bytes > 60_000
    assert {thread.pid for thread in found.threads} != {parent.pid}
    assert {thread.fd for thread in found.threads} == {2}
    assert os.getpid() in [holder.pid for holder in found.holders]
    assert f"should read it: {os.getpid()}" in said
    assert [line[:2] for line in said.splitlines()] == ["pi", "  ", "  ", "th"]


def test_looking_changes_nothing(parent, pipe):
    before = pipes.full_logs(parent.pid)
    run(parent.pid)
    assert pipes.full_logs(parent.pid) == before


def test_growing_the_pipe_frees_the_threads_for_a_while(parent, capsys, wait_until):
    run(parent.pid, "--grow", 1 << 18)
    assert "now 262144 bytes large" in capsys.readouterr().out
    wait_until(lambda: [found.size_bytes for found in pipes.full_logs(parent.pid)] == [1 << 18])
    wait_until(
        lambda: [found.fill_bytes > 200_000 for found in pipes.full_logs(parent.pid)] == [True]
    )


def test_draining_the_pipe_frees_the_threads_and_keeps_what_they_wrote(parent, tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    run(parent.pid, "--drain", path, "--seconds", 0.3)
    assert path.read_bytes().startswith(b"before\nxxx")
    assert path.stat().st_size > 70_000


def test_an_instance_that_is_not_stuck_is_well(capsys):
    assert run(os.getpid()) == 0
    assert "no thread" in capsys.readouterr().out


def test_a_process_that_is_not_there_is_said():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(CannotLook, match=f"there is no process {process.pid}"):
        run(process.pid)
