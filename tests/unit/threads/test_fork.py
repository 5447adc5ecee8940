"""A fork without Python's fork callbacks, as uWSGI forks: what was running before it, and what is
there after.
"""

from __future__ import annotations

import sys

import pytest

from resilient_wsgi.threads import fork as forks

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs /proc and a plain fork"
)
PLAIN_FORK = """
import concurrent.futures, ctypes, os, sys, threading, time
from resilient_wsgi import servers, threads
from resilient_wsgi.events import subscribe
from resilient_wsgi.servers.base import Server, MASTER, WORKER, Identity
from resilient_wsgi.settings.options import Threads

class Forks(Server):
    name = "forking"
    may_exit = True
    def identity(self):
        if os.getpid() == MASTER_PID:
            return Identity(MASTER, 0, MASTER_PID, MASTER_PID)
        return Identity(WORKER, 1, os.getpid(), MASTER_PID, 1)
    def exit(self):
        os._exit(29)

MASTER_PID = os.getpid()
server = Forks()
servers.use(server)

def fork(work):
    "Fork as uWSGI does, with the GIL held and none of Python's callbacks; return the child's exit code."
    sys.stdout.flush()
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        code = 1
        try:
            server.started()
            work()
            code = 0
            server.stopping()
            threading._shutdown()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1] >> 8

def leave():
    "The master itself ends without waiting for its threads."
    sys.stdout.flush()
    os._exit(0)

def hang():
    time.sleep(60)
"""


@pytest.fixture
def forked(child):
    def run(code):
        done = child(PLAIN_FORK + code.replace("\n        ", "\n"), timeout=20)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_without_the_library_a_stale_thread_is_alive_and_holds_up_the_exit(forked):
    done = forked("""
        thread = threading.Thread(target=hang)
        thread.start()
        def work():
            print(thread.is_alive(), thread in threading.enumerate(), len(os.listdir("/proc/self/task")), flush=True)
            os._exit(0)
        fork(work)
        leave()
        """)
    assert done.stdout == "True True 1\n"


def test_a_stale_thread_is_named_says_the_truth_and_does_not_hold_up_the_exit(forked):
    done = forked("""
        threads.install()
        thread = threading.Thread(target=hang, name="stale")
        thread.start()
        def work():
            print(thread.is_alive(), thread in threading.enumerate())
            thread.join()
        print(fork(work))
        print(thread.is_alive())
        leave()
        """)
    assert done.stdout == "False False\n0\nTrue\n"
    assert done.stderr.count("thread 'stale' does not run in this process") == 1


def test_a_stale_thread_from_before_the_library_is_found_by_what_runs(forked):
    done = forked("""
        thread = threading.Thread(target=hang, name="stale")
        thread.start()
        threads.install()
        def work():
            print(thread.is_alive())
        print(fork(work))
        leave()
        """)
    # CPython 3.15 would look for the end of its state for ever, where it cannot be removed: this
    # process leaves
    assert done.stdout == f"False\n{29 if sys.version_info >= (3, 15) else 0}\n"
    assert "started before resilient_wsgi.threads was installed" in done.stderr


def test_what_matches_restart_runs_again_as_the_same_object(forked):
    done = forked("""
        threads.install(Threads(restart=("refresh-*",)))
        ran = threading.Semaphore(0)
        def refresh(word):
            os.write(1, f"{word} {os.getpid() == MASTER_PID}\\n".encode())
            ran.release()
            threads.sleep(60)
        one = threading.Thread(target=refresh, args=("hello",), name="refresh-prices", daemon=True)
        one.start()
        ran.acquire()
        class Other(threading.Thread):
            def run(self):
                refresh("subclass")
        other = Other(name="refresh-other")
        other.start()
        ran.acquire()
        def work():
            ran.acquire()
            ran.acquire()
            print(one.is_alive(), other.is_alive(), one in threading.enumerate())
        print(fork(work))
        leave()
        """)
    assert sorted(done.stdout.splitlines()) == sorted(
        ["hello True", "subclass True", "hello False", "subclass False", "True True True", "0"]
    )


def test_a_timer_that_was_set_before_the_fork_can_be_restarted(forked):
    done = forked("""
        threads.install(Threads(restart=("*",)))
        rang = threading.Event()
        timer = threading.Timer(0.3, lambda: (print("rang", os.getpid() == MASTER_PID, flush=True), rang.set()))
        timer.start()
        print(fork(lambda: rang.wait(10)))
        leave()
        """)
    assert "rang False" in done.stdout


def test_an_executor_that_was_used_before_the_fork_works_after_it(forked):
    done = forked("""
        threads.install()
        pool = concurrent.futures.ThreadPoolExecutor(2)
        print(pool.submit(int, "1").result())
        def work():
            print(pool.submit(int, "2").result(timeout=5))
        print(fork(work))
        print(pool.submit(int, "3").result(timeout=5))
        leave()
        """)
    assert done.stdout == "1\n2\n0\n3\n"


def test_a_busy_executor_works_after_the_fork_and_its_old_work_stays_with_the_parent(forked):
    done = forked("""
        threads.install()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        gate = threading.Event()
        mine = [pool.submit(gate.wait), pool.submit(print, "queued", flush=True)]
        def work():
            print(pool.submit(int, "2").result(timeout=5))
        print(fork(work))
        gate.set()
        mine[1].result(timeout=5)
        leave()
        """)
    assert done.stdout == "2\n0\nqueued\n"


def test_what_was_registered_before_the_fork_runs_once_in_each_child(forked):
    done = forked("""
        threads.install()
        ran = threading.Event()
        def report():
            print("runs", os.getpid() == MASTER_PID, flush=True)
            ran.set()
            threads.sleep(60)
        member = threads.spawn(report)
        print(member.started_here)
        for _ in range(2):
            fork(lambda: ran.wait(10))
        leave()
        """)
    assert done.stdout == "False\nruns False\nruns False\n"


def test_a_lock_of_threading_that_was_held_at_the_fork_is_free_after_it(forked):
    done = forked("""
        threads.install()
        held, gate = threading.Event(), threading.Event()
        def hold():
            with threading._active_limbo_lock:
                held.set()
                time.sleep(60)
        import _thread
        _thread.start_new_thread(hold, ())
        held.wait()
        def work():
            thread = threading.Thread(target=print, args=("started",))
            thread.start()
            thread.join()
        print(fork(work))
        leave()
        """)
    assert done.stdout == "started\n0\n"


def test_report_names_the_stale_thread_and_leaves_it(forked):
    done = forked("""
        threads.install(Threads(mode="report"))
        thread = threading.Thread(target=hang, name="stale")
        thread.start()
        def work():
            print(thread.is_alive(), flush=True)
            os._exit(0)
        fork(work)
        leave()
        """)
    assert done.stdout == "True\n"
    assert "thread 'stale' does not run" in done.stderr


def test_an_executor_or_a_thread_whose_state_has_other_names_is_left_alone(monkeypatch):
    class Executor:
        _threads = frozenset()

    class Thread:
        ident = None

    assert forks.restart_executor(Executor()) is False
    assert vars(Executor).get("_threads") == frozenset()
    forks.mark_dead(Thread())  # raises nothing


def test_stale_threads_that_cannot_be_marked_are_named(forked):
    done = forked("""
        from resilient_wsgi.threads import fork as forks
        threads.install()
        forks.mark_dead = lambda thread: None
        thread = threading.Thread(target=hang, name="stale", daemon=True)
        thread.start()
        print(fork(lambda: print(thread.is_alive())))
        leave()
        """)
    assert done.stdout == "True\n0\n"
    assert (
        "stale threads could not be marked as dead on this Python, and may hold up join(): stale"
        in done.stderr
    )


def test_an_executor_that_was_used_before_a_fork_of_python_s_own_is_usable_after_it(child):
    """On CPython 3.14 `concurrent.futures` forgets its threads in such a fork, which is gunicorn's
    with --preload.
    """
    done = child(
        """
        import concurrent.futures, os, sys, threading, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from resilient_wsgi import threads
        from resilient_wsgi.settings.options import Threads
        from resilient_wsgi.threads import fork as forks
        threads.install(Threads(adopt=True))
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.submit(int).result()
        threading.Thread(target=time.sleep, args=(60,), name="left", daemon=True).start()
        pid = os.fork()
        if pid == 0:
            forks.repair()
            print(pool.submit(int).result(10), flush=True)
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
        """
    )
    assert done.stdout == "0\n0\n"
    assert "thread 'left' does not run in this process" in done.stderr
