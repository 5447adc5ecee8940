"""A value for each process: made once in it, and again after every fork, whoever forks and however."""

from __future__ import annotations

import ctypes
import os
import threading

import pytest

from resilient_wsgi.core.system import PerProcess, Process, System, fork_mark


class ByPid(System):
    """A kernel without MADV_WIPEONFORK."""

    wipes_on_fork = False


KERNELS = pytest.mark.parametrize("system", [System(), ByPid()], ids=["wiped", "by pid"])


def in_child(work, fork=os.fork):
    """Return what `work` returns in a child of this process."""
    reading, writing = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            os.write(writing, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def raw_fork():
    """Fork as uWSGI does: Python's callbacks do not run."""
    return ctypes.PyDLL(None).fork()


@KERNELS
def test_it_is_made_when_first_asked_for_and_kept(system):
    made = []
    value = PerProcess(lambda: made.append(1) or len(made), Process(system))
    assert made == []
    assert [value.get(), value.get(), made] == [1, 1, [1]]


@KERNELS
@pytest.mark.parametrize("fork", [os.fork, raw_fork])
def test_a_child_makes_its_own_and_the_parent_keeps_its_own(system, fork):
    value = PerProcess(lambda: [os.getpid()], Process(system))
    mine = value.get()
    theirs = in_child(lambda: (value.peek(), value.get() is value.get(), value.get()), fork)
    assert theirs.startswith("(None, True, [")
    assert str(os.getpid()) not in theirs
    assert value.get() is mine


@KERNELS
def test_a_grandchild_has_its_own_where_the_child_never_asked(system):
    value = PerProcess(os.getpid, Process(system))
    assert value.get() == os.getpid()
    assert in_child(lambda: in_child(lambda: value.get() == os.getpid())) == repr("True")


def test_several_values_learn_of_the_same_fork():
    first, second = PerProcess(os.getpid), PerProcess(os.getpid)
    assert first.get() == second.get()
    assert in_child(lambda: (first.get(), second.get()) == (os.getpid(),) * 2) == "True"


def test_what_make_raises_is_raised_and_the_next_to_ask_tries_again():
    answers = iter([OSError("no"), 2])

    def make():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    value = PerProcess(make)
    with pytest.raises(OSError, match="no"):
        value.get()
    assert value.get() == 2


def test_none_and_other_false_values_are_values():
    made = []
    value = PerProcess(lambda: made.append(1))
    assert [value.get(), value.get(), made] == [None, None, [1]]


def test_it_can_be_set_and_cleared():
    value = PerProcess(lambda: "made")
    value.set("given")
    assert value.get() == "given"
    assert in_child(value.get) == "'made'"
    value.clear()
    assert [value.peek(), value.get()] == [None, "made"]


def test_threads_that_ask_at_the_same_time_get_the_same_value():
    together = threading.Barrier(4)
    made, got = [], []

    def make():
        together.wait(10)  # all four are making one
        made.append(object())
        return made[-1]

    value = PerProcess(make)
    threads = [threading.Thread(target=lambda: got.append(value.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(made), len(set(got)), value.get()] == [4, 1, got[0]]


@KERNELS
def test_a_mark_is_unset_in_each_new_process(system):
    mark = fork_mark(system)
    assert not mark[0]
    mark[0] = 1
    assert mark[0]
    assert in_child(lambda: bool(mark[0]), raw_fork) == "False"
    assert mark[0]


def test_a_kernel_that_refuses_gets_the_comparison_of_pids(monkeypatch):
    monkeypatch.setattr("resilient_wsgi.core.system.MADV_WIPEONFORK", 9999)
    mark = fork_mark()
    mark[0] = 1
    assert mark[0]
    assert in_child(lambda: bool(mark[0])) == "False"
