"""The limits of an exit: how a mercy is divided, what counts as work, and what a CPython with other
names gets.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from resilient_wsgi.settings.options import Threads
from resilient_wsgi.threads.exit_timeouts import ExitTimeouts

PRELUDE = """
import atexit, concurrent.futures, os, sys, threading, time, types
from resilient_wsgi import deadline, servers, threads
from resilient_wsgi.servers.base import WORKER, Identity
from resilient_wsgi.servers.plain import PlainServer
from resilient_wsgi.settings.options import Threads

class Serving(PlainServer):
    "A server that has loaded its app: its main thread handles requests, in functions of the file `requests.py`."
    name = "serving"
    def identity(self):
        return Identity(WORKER, 1, os.getpid(), os.getppid(), 1)
    def mercy(self):
        return float(os.environ.get("MERCY", "30"))
    def serving(self):
        return True

def request(function, *args):
    "Run it as the code of a request."
    result = []
    import _thread
    done = _thread.allocate_lock()
    done.acquire()
    def run():  # a thread of a server that is not written in Python: none of `threading`'s, nothing below it on the stack
        threading.current_thread()._daemonic = False  # inherited by what it starts, as from the main thread
        try:
            result.append(function(*args))
        finally:
            done.release()
    _thread.start_new_thread(run, ())
    done.acquire()
    return result[0]

def say(word, seconds=0.0):
    time.sleep(seconds)
    os.write(1, f"{word}\\n".encode())

def forever():
    while True:
        time.sleep(0.02)

servers.use(Serving())
"""


@pytest.fixture
def ending():
    def run(code, timeout=25.0, **env):
        code = PRELUDE + textwrap.dedent(code)
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout,
            check=False,
            env={**os.environ, **env},
        )  # fmt: skip

    return run


@pytest.mark.parametrize("mercy", [1, 2, 3, 4, 10, 30, 60, 600, None])
def test_every_part_of_an_exit_has_its_time_and_all_of_it_ends_before_the_server_kills(mercy):
    plan = ExitTimeouts(Threads(), mercy, begun=1000.0)
    granted = 60 if mercy is None else mercy
    assert (
        1000
        < plan.work_until
        < plan.grace_until(plan.work_until)
        <= plan.cut_at
        < plan.gone_at
        < 1000 + granted
    )
    assert plan.gone_at >= 1000 + granted * 0.75 - 1e-9
    # most of a long one, more than a third of the shortest
    assert plan.work_until >= 1000 + granted * 0.35


@pytest.mark.parametrize(
    ("options", "mercy", "work", "gone"),
    [
        ({"grace": 5.0}, 60, 5.0, 59),  # an explicit GRACE is for all threads
        ({"grace": 50.0}, 30, 27.0, 29),  # and never more than the server grants
        ({"exit_timeout": 10}, 60, 22 / 3, 10),  # an explicit FUSE is the limit of the whole exit
        ({"exit_timeout": 100}, 30, 26.0, 29),
    ],
)
def test_what_the_operator_has_set_keeps_its_meaning_within_the_mercy(options, mercy, work, gone):
    plan = ExitTimeouts(Threads(**options), mercy, begun=0.0)
    assert (plan.work_until, plan.gone_at) == (pytest.approx(work), pytest.approx(gone))


@pytest.mark.parametrize("mercy", [1, 4, 5, 8, 60])
def test_what_is_kept_for_background_threads_is_work_s_where_there_are_none(mercy):
    with_them, alone = (
        ExitTimeouts(Threads(), mercy, begun=0.0, background=some) for some in (True, False)
    )
    assert (
        with_them.work_until < alone.work_until <= alone.cut_at < alone.gone_at == with_them.gone_at
    )
    # the rest is for exit functions, and the margin of a second or a quarter
    assert alone.work_until >= 0.6 * mercy


def test_work_gets_a_short_mercy_but_for_what_exit_functions_and_the_margin_need(ending):
    done = ending(
        """
        threads.install()
        atexit.register(say, "exit function")
        request(lambda: threading.Thread(target=say, args=("work", 3.0)).start())
        """,
        MERCY="5",
    )
    assert done.stdout.splitlines() == ["work", "exit function"]


def test_a_request_s_thread_and_jobs_are_finished_and_nobody_else_is_waited_for(ending):
    done = ending("""
        threads.install()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        def view():
            threading.Thread(target=say, args=("thread done", 1.0)).start()
            for n in range(3):
                pool.submit(say, f"job {n} done", 0.4)
        threading.Thread(target=forever, name="forever").start()
        request(view)
        sys.exit(3)
        """)
    assert done.returncode == 3
    assert sorted(done.stdout.splitlines()) == [
        "job 0 done",
        "job 1 done",
        "job 2 done",
        "thread done",
    ]
    assert "'forever' did not stop" in done.stderr


def test_jobs_of_the_background_in_a_pool_are_cancelled_and_those_of_requests_are_not(ending):
    done = ending("""
        threads.install()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        request(lambda: pool.submit(say, "request", 0.3))
        background = [pool.submit(time.sleep, 60) for _ in range(3)]  # by this module, at its import
        atexit.register(lambda: say([future.cancelled() for future in background]))
        """)
    assert done.stdout.splitlines() == ["request", "[False, True, True]"]


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="CPython 3.12 starts no thread once the main one has ended",
)
def test_work_that_starts_work_or_asks_whether_to_stop_is_served(ending):
    done = ending("""
        threads.install()
        def first():
            while not threads.stopping():
                time.sleep(0.01)
            threading.Thread(target=say, args=("second", 0.5)).start()
        request(lambda: threading.Thread(target=first).start())
        """)
    assert (done.returncode, done.stdout) == (0, "second\n")


def test_a_timer_of_a_request_runs_if_its_time_comes_before_the_end_and_is_cancelled_otherwise(
    ending,
):
    done = ending("""
        threads.install()
        def view():
            threading.Timer(0.5, say, ("soon",)).start()
            threading.Timer(600, say, ("late",)).start()
        request(view)
        begun = time.monotonic()
        atexit.register(lambda: say(time.monotonic() - begun < 5))
        """)
    assert done.stdout.splitlines() == ["soon", "True"]


def test_a_thread_that_has_run_ten_times_as_long_as_the_mercy_is_taken_for_one_that_does_not_end(
    ending,
):
    done = ending(
        """
        threads.install()
        request(lambda: threading.Thread(target=forever, name="old").start())
        for thread in threading.enumerate():
            if thread.name == "old":
                thread.resilient_wsgi_origin.time -= 300
        begun = time.monotonic()
        atexit.register(lambda: say(time.monotonic() - begun < 4))
        """,
        MERCY="30",
    )
    assert done.stdout == "True\n"
    assert "'old' did not stop" in done.stderr


@pytest.mark.parametrize(
    "left", ["forever", "sleep", "lock", "waker", "busy", "executor", "breeder"]
)
@pytest.mark.parametrize("end", ["sys.exit(3)", "raise SystemExit(7)", "raise ValueError", "pass"])
def test_a_process_that_leaves_threads_behind_ends_with_its_own_code(ending, left, end):
    done = ending(f"""
        threads.install(Threads(adopt=True, grace=0.2, unsignalled_grace=0.1))
        class Plainly(PlainServer):
            pass
        atexit.register(say, "atexit")
        def busy():
            while True:
                pass
        def breed():
            time.sleep(0.02)
            threading.Thread(target=breed).start()
        def wake():
            while True:
                time.sleep(0.0005)
        def lock():
            held = threading.Lock()
            held.acquire()
            held.acquire()
        def executor():
            pool = concurrent.futures.ThreadPoolExecutor(1)
            pool.submit(forever)
            pool.submit(forever)
            time.sleep(60)
        target = {{
            "forever": forever, "sleep": lambda: time.sleep(60), "lock": lock, "waker": wake, "busy": busy,
            "executor": executor, "breeder": breed,
        }}[{left!r}]
        threading.Thread(target=target).start()
        {end}
        """)
    assert done.stdout == "atexit\n"
    assert (
        done.returncode
        == {"sys.exit(3)": 3, "raise SystemExit(7)": 7, "raise ValueError": 1, "pass": 0}[end]
    )


@pytest.mark.parametrize("how", ["unwanted", "uninstalled"])
def test_a_process_whose_exit_is_not_bounded_waits_for_its_threads_and_executors_as_ever(
    ending, how
):
    done = ending(f"""
        threads.install()
        threading.Thread(target=say, args=("thread", 1.2)).start()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.submit(say, "job", 0.2)
        pool.submit(say, "job", 0.2)
        if {how!r} == "uninstalled":
            threads.uninstall()
        else:
            import multiprocessing
            def work():
                threading.Thread(target=say, args=("child", 0.5)).start()
            child = multiprocessing.get_context("fork").Process(target=work)
            child.start()
            child.join()
            threads.uninstall()
        """)
    words = ["job", "job", "thread"] + (["child"] if how == "unwanted" else [])
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, sorted(words))


NAMES = {
    "threading": (
        "_shutdown", "_shutdown_locks", "_thread_shutdown", "_start_joinable_thread",
        "_threading_atexits", "_active",
        "_MainThread", "_DummyThread", "_active_limbo_lock", "_shutdown_locks_lock",
        "_register_atexit", "_dangling",
    ),
    "atexit": ("_run_exitfuncs", "_ncallbacks"),
    "concurrent.futures.thread": ("_threads_queues",),
}  # fmt: skip
MISSING = [(module, name) for module, names in NAMES.items() for name in names]


@pytest.mark.parametrize(("module", "name"), MISSING, ids=[name for _, name in MISSING])
def test_the_library_works_around_each_private_name_that_a_cpython_may_not_have(
    ending, module, name
):
    """As if it did not exist, for the library: `threading` itself goes on using it."""
    done = ending(f"""
        import importlib
        class Without(types.ModuleType):
            "The module, but for one name."
            def __init__(self, real, name):
                super().__init__(real.__name__)
                vars(self).update((key, value) for key, value in vars(real).items() if key != name)
                object.__setattr__(self, "_real", (real, name))
            def __getattr__(self, name):
                real, missing = object.__getattribute__(self, "_real")
                if name == missing:
                    raise AttributeError(name)
                return getattr(real, name)
            def __setattr__(self, name, value):
                setattr(object.__getattribute__(self, "_real")[0], name, value)
                object.__setattr__(self, name, value)
        import concurrent.futures.thread
        import resilient_wsgi.threads.fork, resilient_wsgi.threads.shutdown
        module = importlib.import_module({module!r})
        if not hasattr(module, {name!r}):
            say("not here")
        stand_in = Without(module, {name!r})
        for ours in list(sys.modules.values()):
            if getattr(ours, "__name__", "").startswith("resilient_wsgi."):
                for key, value in list(vars(ours).items()):
                    if value is module:
                        setattr(ours, key, stand_in)
        if {module!r} == "concurrent.futures.thread":
            sys.modules[{module!r}] = stand_in
        means = threads.install()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.submit(int).result()
        threads.spawn(threads.stop_event.wait)
        request(lambda: threading.Thread(target=say, args=("work", 0.3)).start())
        print(*means, file=sys.stderr)
        """)
    assert done.returncode == 0, done.stderr
    assert "work" in done.stdout
    assert "Traceback" not in done.stderr
    if name == "_shutdown":
        assert "exit NOT limited: this Python has no threading._shutdown" in done.stderr
