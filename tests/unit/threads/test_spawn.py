"""Registered threads: started where they belong, told to stop, named when they do not."""

from __future__ import annotations

import threading
import time

import pytest

from resilient_wsgi.events import ThreadFailed, ThreadStopped
from resilient_wsgi.servers.base import MASTER, MULE, SPOOLER, WORKER
from resilient_wsgi.threads import AlreadyStopping, registry, sleep, spawn, stop_event, stopping


def soon():
    return time.monotonic() + 5


def test_a_thread_that_sleeps_is_woken_by_the_stop_and_ends():
    def work():
        while not sleep(3600):
            pass

    thread = spawn(work)
    assert registry.stop("a test", soon()) == []
    assert not thread.is_alive()
    assert thread.outcome.startswith("stopped in 0.")
    assert "(a test)" in thread.outcome


def test_arguments_are_passed_on():
    seen = []
    spawn(lambda *args, **kwargs: seen.append((args, kwargs)), 1, 2, key="value").join(5)
    assert seen == [((1, 2), {"key": "value"})]


def test_stopping_and_the_stop_event_say_the_same_as_sleep(eventually):
    seen = []

    def work():
        seen.append((stopping(), stop_event.is_set()))
        stop_event.wait()
        seen.append((stopping(), stop_event.is_set(), sleep(3600)))

    thread = spawn(work)
    eventually(lambda: seen)
    thread.stop()
    assert thread.join(5)
    assert seen == [(False, False), (True, True, True)]


def test_one_thread_can_be_stopped_alone():
    one, other = spawn(stop_event.wait, name="one"), spawn(stop_event.wait, name="other")
    one.stop("enough")
    assert one.join(5)
    assert other.is_alive()
    assert not stopping()


def test_a_thread_that_is_not_registered_is_told_with_its_process():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(sleep(3600)))
    thread.start()
    registry.notify_process("a test")
    thread.join(5)
    assert seen == [True]


def test_the_first_reason_stays():
    registry.notify_process("the first")
    registry.notify_process("the second")
    assert registry.reason == "the first"


def test_later_groups_are_stopped_before_earlier_ones_and_waited_for():
    order = []

    def work(name):
        stop_event.wait()
        time.sleep(0.02)
        order.append(name)

    for name, group in (("database", "bottom"), ("a", "top"), ("b", "top"), ("c", "bottom")):
        spawn(work, name, name=name, group=group)
    registry.stop("a test", soon())
    assert set(order[:2]) == {"database", "c"}  # bottom has the latest


def test_within_a_group_the_latest_started_is_told_first():
    order = []
    for name in "abc":
        spawn(stop_event.wait, name=name, on_stop=lambda name=name: order.append(name))
    registry.stop("a test", soon())
    assert order == ["c", "b", "a"]


def test_a_group_that_does_not_end_leaves_the_others_their_share():
    gate = threading.Event()
    spawn(stop_event.wait, name="good", group="one")
    bad = spawn(gate.wait, name="bad", group="two")
    left = registry.stop("a test", time.monotonic() + 0.4)
    gate.set()
    assert [run.background for run in left] == [bad]
    assert registry["good"].outcome.startswith("stopped")


def test_a_stop_callback_that_raises_does_not_keep_the_others_from_being_told(caplog):
    def bad():
        raise RuntimeError("in the callback")

    spawn(stop_event.wait, name="first")
    spawn(stop_event.wait, name="second", on_stop=bad)
    assert registry.stop("a test", soon()) == []


def test_a_stop_callback_that_hangs_does_not_hold_up_the_stop():
    gate = threading.Event()
    spawn(stop_event.wait, name="first")
    spawn(stop_event.wait, name="second", on_stop=gate.wait)
    begun = time.monotonic()
    assert registry.stop("a test", soon()) == []
    gate.set()
    assert time.monotonic() - begun < 4


def test_a_thread_that_starts_threads_while_stopping_gets_a_clear_error():
    errors = []

    def work():
        stop_event.wait()
        try:
            spawn(print)
        except AlreadyStopping as error:
            errors.append(str(error))

    spawn(work)
    registry.notify_process("a test")
    registry.stop("a test", soon())
    assert len(errors) == 1
    assert "a test" in errors[0]


def test_registration_from_many_threads_loses_none():
    def register():
        for _ in range(20):
            spawn(stop_event.wait)

    starters = [threading.Thread(target=register) for _ in range(10)]
    for thread in starters:
        thread.start()
    for thread in starters:
        thread.join()
    assert len(registry) == 200
    assert registry.stop("a test", soon()) == []


def test_a_thousand_threads_stop_in_time():
    for _ in range(1000):
        spawn(stop_event.wait)
    assert registry.stop("a test", time.monotonic() + 20) == []


def test_what_a_thread_raises_is_told_and_goes_where_error_trackers_look(happened, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_type))
    thread = spawn(lambda: 1 / 0, name="divider")
    thread.join(5)
    assert seen == [ZeroDivisionError]
    assert thread.outcome == "failed: ZeroDivisionError: division by zero"
    assert [e for e in happened if isinstance(e, ThreadFailed)] == [
        ThreadFailed("divider", "ZeroDivisionError: division by zero")
    ]


def test_a_thread_that_ends_after_it_was_told_is_an_event(happened):
    spawn(stop_event.wait, name="polite")
    registry.stop("a test", soon())
    assert [(e.name, e.reason) for e in happened if isinstance(e, ThreadStopped)] == [
        ("polite", "a test")
    ]


def test_registered_threads_do_not_keep_their_process_alive(child):
    done = child("""
        import time
        from resilient_wsgi.threads import spawn, sleep
        def work():
            sleep(3600)
            print("told", flush=True)
        spawn(work)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "told\n", "")


@pytest.mark.parametrize(
    ("where", "role", "number", "runs"),
    [
        ("workers", WORKER, 2, True),
        ("workers", MULE, 1, False),
        ("workers", MASTER, 0, False),
        ("mules", MULE, 1, True),
        ("mules", WORKER, 1, False),
        ("spoolers", SPOOLER, 0, True),
        ("worker:2", WORKER, 2, True),
        ("worker:2", WORKER, 1, False),
        ("mule:1", MULE, 1, True),
        ("mule:1", MULE, 2, False),
    ],
)
def test_it_runs_in_the_processes_it_is_for(server, where, role, number, runs):
    server.role, server.number = role, number
    assert spawn(stop_event.wait, where=where).started_here is runs


def test_what_is_registered_in_the_master_starts_once_in_the_worker(server):
    server.role = MASTER
    thread = spawn(stop_event.wait)
    assert not thread.started_here
    assert thread.outcome == "waits for workers"
    server.role = WORKER
    registry.start_here()
    assert thread.is_alive()
    started = thread.run_here.thread
    registry.start_here()
    assert thread.run_here.thread is started


@pytest.mark.parametrize("name", ["", 3, b"x"])
def test_a_name_that_is_none_is_an_error(name):
    with pytest.raises(ValueError, match="a non-empty string"):
        spawn(print, name=name)


def test_a_name_that_is_taken_is_an_error_that_says_where_it_was_taken():
    spawn(stop_event.wait, name="taken")
    with pytest.raises(ValueError, match=r"'taken' is registered already(.|\n)*test_spawn.py"):
        spawn(stop_event.wait, name="taken")


def test_the_name_of_a_thread_that_has_ended_is_free_again():
    spawn(int, name="again").join(5)
    assert spawn(stop_event.wait, name="again").is_alive()


@pytest.mark.parametrize("fn", [None, 3, "print"])
def test_what_cannot_be_called_is_an_error(fn):
    with pytest.raises(TypeError, match=r"takes a callable as fn; got"):
        spawn(fn)
    with (
        pytest.raises(TypeError, match=r"takes a callable as on_stop")
        if fn is not None
        else pytest.raises(TypeError)
    ):
        spawn(print if fn is not None else None, on_stop=fn)


@pytest.mark.parametrize(
    "where",
    ["worker", "mule:", "mule:x", "mule:0", "farm:", "farm", "workers:1", "everywhere", "", None],
)
def test_a_place_that_is_not_known_is_an_error(where):
    with pytest.raises(ValueError, match=r"is not known: it takes workers, one"):
        spawn(print, where=where)


def test_a_negative_sleep_is_an_error():
    with pytest.raises(ValueError, match="0 or more; got -1"):
        sleep(-1)


def test_spawning_in_a_process_that_was_told_to_stop_is_an_error():
    registry.notify_process("it ends")
    with pytest.raises(AlreadyStopping, match=r"'print' was not started: .*\(it ends\)"):
        spawn(print)


def test_reprs_tell():
    thread = spawn(stop_event.wait, name="teller")
    assert repr(thread) in (
        "<background thread 'teller': running>",
        "<background thread 'teller': starting>",
    )
    assert repr(registry) == "<Registry 1 of 1 running>"
    assert repr(stop_event) == "<StopEvent not set reason=''>"
