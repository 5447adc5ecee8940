"""The end of a process, in processes of their own: bounded, and nothing of anybody else's is left
out.
"""

from __future__ import annotations

import re
import sys
import threading
import time

import pytest

from resilient_wsgi import threads
from resilient_wsgi.events import ThreadAbandoned, ThreadHoldsExit
from resilient_wsgi.settings.options import Threads
from resilient_wsgi.threads.finalization import finalization

ON = """
import atexit, concurrent.futures, logging, os, sys, threading, time
from resilient_wsgi import servers, threads
from resilient_wsgi.settings.options import Threads

def install(**options):
    threads.install(Threads(**{"adopt": True, "grace": 0.4, "unsignalled_grace": 0.2, **options}))

class Leaves(servers.Server):
    "A server that replaces a process which ends by itself, and says so before the interpreter's end, as uWSGI does."
    may_exit = True
    def __init__(self):
        super().__init__()
        global main_ends
        main_ends = self.stopping
    def exit(self):
        os._exit(29)

def hang():
    time.sleep(60)

main_ends = lambda: None
"""
HANGS = 20  # what hangs does so for 60 s: a child that needs less did not wait for it


@pytest.fixture
def ending(child):
    def run(code, **env):
        code = code.replace("\n        ", "\n")
        return child(f"{ON}{code}\nmain_ends()\n", timeout=HANGS, **env)

    return run


def test_a_thread_that_nobody_can_tell_to_stop_does_not_hold_up_the_exit(ending):
    done = ending("""
        install()
        atexit.register(print, "atexit ran")
        threading.Thread(target=hang, name="stubborn").start()
        sys.exit(3)
        """)
    assert (done.returncode, done.stdout) == (3, "atexit ran\n")
    assert "thread 'stubborn' did not stop" in done.stderr
    assert "in hang" in done.stderr  # where it stands
    # where it was started
    assert 'name="stubborn").start()' in done.stderr or '"<string>", line' in done.stderr


def test_where_the_server_replaces_processes_this_one_leaves_after_every_exit_function(ending):
    done = ending("""
        servers.use(Leaves())
        install()
        atexit.register(print, "atexit ran")
        threading._register_atexit(print, "threading's ran")
        logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
        class Shut(logging.NullHandler):
            def close(self):
                print("logging was shut down")
                super().close()
        logging.getLogger().addHandler(Shut())
        threading.Thread(target=hang, name="stubborn").start()
        """)
    assert done.returncode == 29
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in ("threading's ran", "atexit ran", "logging was shut down")] == [
        "threading's ran", "atexit ran", "logging was shut down",
    ]  # fmt: skip


def test_if_all_threads_end_the_interpreter_ends_as_it_always_does(ending):
    done = ending("""
        servers.use(Leaves())
        install(grace=5.0)
        class Last:
            def __del__(self, write=os.write):
                write(1, b"finalized\\n")
        last = Last()
        threads.spawn(threads.stop_event.wait)
        threading.Thread(target=time.sleep, args=(0.05,)).start()
        """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "finalized\n", "")


def test_in_a_process_without_a_server_threads_are_waited_for_as_ever(ending):
    done = ending("""
        threads.install()
        def work():
            time.sleep(1.5)
            print("done")
        threading.Thread(target=work).start()
        """)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_timer_is_cancelled_and_a_queue_of_work_too(ending):
    done = ending("""
        install(grace=5.0, unsignalled_grace=5.0)
        threading.Timer(60, hang).start()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.submit(time.sleep, 0.2)
        queued = [pool.submit(hang) for _ in range(5)]
        atexit.register(lambda: print([q.cancelled() for q in queued]))
        """)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "[True, True, True, True, True]\n",
        "",
    )


def test_a_stop_callback_that_hangs_does_not_hold_up_the_exit(ending):
    done = ending("""
        install(grace=5.0)
        atexit.register(print, "atexit ran")
        threads.spawn(threads.stop_event.wait, on_stop=hang)
        class Deaf(threading.Timer):
            def cancel(self):
                hang()
        Deaf(60, print).start()
        """)
    assert (done.returncode, done.stdout) == (0, "atexit ran\n")


def test_an_executor_with_a_task_that_does_not_end_is_left_behind(ending):
    done = ending("""
        install()
        pool = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="pool")
        pool.submit(hang)
        pool.submit(int)
        atexit.register(print, "atexit ran")
        """)
    assert (done.returncode, done.stdout) == (0, "atexit ran\n")
    assert "thread 'pool_0' did not stop" in done.stderr
    assert done.stderr.count("did not stop") == 1


def test_what_was_opted_into_is_told_by_its_event_or_method(ending):
    done = ending("""
        install(grace=5.0, stop_attributes=("stop_event", "stop"))
        class ByEvent(threading.Thread):
            def __init__(self):
                super().__init__()
                self.stop_event = threading.Event()
            def run(self):
                os.write(1, b"by event %d\\n" % self.stop_event.wait(60))
        class ByMethod:
            def __init__(self):
                self.gate = threading.Event()
            def stop(self):
                self.gate.set()
            def loop(self):
                os.write(1, b"by method %d\\n" % self.gate.wait(60))
        ByEvent().start()
        time.sleep(0.05)
        threading.Thread(target=ByMethod().loop, daemon=True).start()
        """)
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == ["by event 1", "by method 1"]


def test_a_thread_that_holds_the_lock_of_logging_does_not_hold_up_the_exit(ending):
    done = ending("""
        servers.use(Leaves())
        install(exit_timeout=3)
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        def hog():
            with handler.lock:
                hang()
        threading.Thread(target=hog).start()
        """)
    assert done.returncode == 29


def test_an_exit_function_that_hangs_is_cut_short_by_the_fuse_and_named(ending):
    done = ending("""
        servers.use(Leaves())
        install(exit_timeout=2)
        threading.Thread(target=hang).start()
        def last_words():
            hang()
        atexit.register(last_words)
        """)
    assert done.returncode == 29
    assert "is cut short" in done.stderr
    assert "in last_words" in done.stderr


@pytest.mark.skipif(
    sys.version_info < (3, 10), reason="there atexit prints what is raised without asking a hook"
)
def test_what_was_cut_short_is_said_in_a_line_and_looks_like_no_fault(ending):
    done = ending("""
        servers.use(Leaves())
        install(exit_timeout=3)
        def words():
            hang()
        atexit.register(print, "the last one ran")
        atexit.register(words)
        def fails():
            raise KeyError("mine")
        atexit.register(fails)
        threading.Thread(target=hang).start()
        """)
    (where,) = re.findall(
        r"^resilient_wsgi: \[RW511\] cut short to end in time: (.*); what comes after it runs$",
        done.stderr,
        re.MULTILINE,
    )
    assert where.endswith("in words")
    assert "CutShort" not in done.stderr
    assert "the last one ran" in done.stdout
    assert "KeyError: 'mine'" in done.stderr  # the app's own is printed as ever


def test_threads_that_start_threads_while_the_process_stops_do_not_hold_it_up(ending):
    done = ending("""
        install()
        def breed():
            time.sleep(0.02)
            try:
                threading.Thread(target=breed).start()
            except RuntimeError:
                pass
        for _ in range(3):
            threading.Thread(target=breed).start()
        """)
    assert done.returncode == 0


def test_a_fork_in_the_middle_of_a_stop_ends_on_its_own(ending):
    done = ending("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in processes with threads
        servers.use(Leaves())
        install(grace=5.0)
        def work():
            threads.stop_event.wait()
            pid = os.fork()
            if pid == 0:
                print("child untold:", not threads.stopping(), flush=True)
                os._exit(0)
            print("parent:", os.waitpid(pid, 0)[1], flush=True)
        threads.spawn(work)
        """)
    assert (done.returncode, done.stdout) == (0, "child untold: True\nparent: 0\n")


def test_a_child_of_multiprocessing_waits_for_its_own_threads_as_ever(ending):
    done = ending("""
        import multiprocessing
        servers.use(Leaves())
        install()
        def late():
            time.sleep(1.0)
            os.write(1, b"late\\n")
        def work():
            threading.Thread(target=late).start()
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        print(process.exitcode)
        """)
    assert done.stdout.splitlines() == ["late", "0"]


def test_a_thousand_stubborn_threads_are_all_named(ending):
    done = ending("""
        install()
        gate = threading.Event()
        for _ in range(1000):
            threading.Thread(target=gate.wait).start()
        """)
    assert done.returncode == 0
    assert done.stderr.count("did not stop") >= 20  # the log has its limit as well


def test_report_names_what_holds_up_the_exit_and_changes_nothing(ending):
    done = ending("""
        install(mode="report")
        threading.Thread(target=time.sleep, args=(1.5,), name="slow").start()
        began = time.monotonic()
        atexit.register(lambda: print(time.monotonic() - began > 1.3))
        """)
    assert done.stdout == "True\n"
    assert "the exit waits for thread 'slow' (dry run, nothing was done)" in done.stderr


def test_uninstall_gives_threading_back():
    start, shutdown = threading.Thread.start, threading._shutdown
    threads.install(Threads(adopt=True))
    assert threading.Thread.start is not start
    assert threading._shutdown is not shutdown
    threads.uninstall()
    assert threading.Thread.start is start
    assert threading._shutdown is shutdown


def test_installing_twice_is_installing_once_and_changes_the_options():
    shutdown = threading._shutdown
    threads.install(Threads(adopt=True))
    assert threads.install(Threads(adopt=True, grace=7.0)) == [
        "threading.Thread.start",
        "exit limited to 7 s",
    ]
    assert threads.install(Threads(adopt=False)) == ["registered threads only"]
    assert threading._shutdown is shutdown


def test_a_wrapper_of_somebody_else_around_start_survives_uninstall(monkeypatch):
    threads.install(Threads(adopt=True))
    ours = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: ours(self))  # noqa: PLW0108 - not ours itself
    theirs = threading.Thread.start
    threads.uninstall()
    assert threading.Thread.start is theirs
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def test_stop_tells_the_process_and_says_what_was_left(happened, server):
    threads.install(Threads(adopt=True, grace=0.3, unsignalled_grace=0.1))
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="stubborn")
    thread.start()
    try:
        server.stopping()
        assert threads.stopping()
        (event,) = [e for e in happened if isinstance(e, ThreadAbandoned)]
        assert event.name == "stubborn"
        assert "test_shutdown.py" in event.started
        assert not [e for e in happened if isinstance(e, ThreadHoldsExit)]
    finally:
        gate.set()
        thread.join()
        finalization._here.clear()


def test_registered_threads_get_their_grace_where_nothing_is_adopted(server):
    threads.install(Threads(adopt=False, grace=5.0))
    ended = []

    def work():
        threads.stop_event.wait()
        time.sleep(0.05)
        ended.append(1)

    threads.spawn(work)
    server.stopping()
    assert ended
