"""No thread state that a fork has left behind is ever walked, and none is left to be walked by
others.

uWSGI forks without Python's fork callbacks. So does libc's `fork`, called from here: what a prefork
worker crashes of takes no server.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "resilient_wsgi"

AT_IMPORT = {
    "thread": "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
    "executor": "ex = ThreadPoolExecutor(4); [f.result() for f in [ex.submit(time.sleep, 0.02) for "
    "_ in range(4)]]",
    "timer": "timer = threading.Timer(100, print); timer.daemon = True; timer.start()",
    "lock": "lock = threading.Lock(); lock.acquire(); threading.Thread(target=lock.acquire, "
    "daemon=True).start()",
    "deep": "threading.Thread(target=deep, args=(60, lambda: time.sleep(100)), "
    "daemon=True).start()",
}
FORKED = """
import os, signal, sys, tempfile, threading, time, ctypes
from concurrent.futures import ThreadPoolExecutor
from resilient_wsgi.core import frames

def deep(n, then):
    return then() if n == 0 else deep(n - 1, then)

def walk():
    for frame in frames.frames().values():
        while frame is not None:
            frame = frame.f_back

frames.state = frames.Frames(embedded=True)
frames.state.not_forked()
frames.state.prepare()
{at_import}
time.sleep(0.05)
assert frames.why_not() == "" and len(frames.frames()) > 1
child = {fork}
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
try:
    {in_child}
except BaseException as error:
    print(repr(error), flush=True)
    os._exit(1)
os._exit(0)
"""


def python(code):
    """Run code in a process of its own; return its exit code and what it said."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.strip() + done.stderr.strip()


def forked(at_import, in_child, fork="ctypes.PyDLL(None).fork()"):
    """Run code in a child that was forked without Python's callbacks; return its exit code and what
    it said.
    """
    code = FORKED.format(
        at_import=at_import, fork=fork, in_child=in_child.strip().replace("\n", "\n    ")
    )
    return python(code)


CLEANED = """
frames.state.forked()
assert frames.why_not() == "", frames.why_not()
assert list(frames.frames()) == [threading.get_ident()], frames.frames()
pool = ThreadPoolExecutor(4)  # their stacks take the places of those that are gone
work = [pool.submit(deep, n * 9, lambda: time.sleep(0.05)) for n in range(8)]
until = time.monotonic() + 0.2
while time.monotonic() < until:
    walk()
frames.dump(os.open("/dev/null", os.O_WRONLY))
[each.result() for each in work]
assert len(frames.frames()) == 5, frames.frames()
"""


@pytest.mark.parametrize("kind", AT_IMPORT)
def test_in_a_cleaned_child_everything_may_be_walked(kind):
    assert forked(AT_IMPORT[kind], CLEANED) == (0, "")


def test_what_waits_at_the_time_of_the_fork_does_not_crash_the_waits_of_the_child():
    """CPython 3.13 keeps who waits for its own locks in a table, with entries on the stacks of
    those who wait.
    """
    idle = AT_IMPORT["executor"]
    waits = """
frames.state.forked()
for _ in range(30):
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.001, lock.release).start()
    lock.acquire()
"""
    assert forked(idle, waits) == (0, "")


WHERE_NOBODY_HAS_CLEANED = """
from resilient_wsgi.request import stack_dumps
from resilient_wsgi.threads.origin import stack_of
import faulthandler
def forbidden(*_, **__):
    raise AssertionError("walked")
sys._current_frames = faulthandler.register = faulthandler.dump_traceback = faulthandler.dump_traceback_later = forbidden
threading.Thread(target=time.sleep, args=(30,), daemon=True).start()  # not alone: what is dead can no more be told
reason = "threads were lost in the fork"
assert reason in frames.why_not()
assert frames.frames() == {} and frames.frame_of(threading.get_ident()) is None
assert not stack_dumps.in_request(threading.get_ident())
assert reason in stack_dumps.render({})
assert reason in stack_of(threading.current_thread())
assert frames.end_later(1, 2) is False
assert reason in frames.dump_at_signal(signal.SIGRTMIN, 2)
frames.cancel_end()
"""


def test_where_they_cannot_be_told_from_the_living_nothing_looks_and_it_is_said():
    assert forked(AT_IMPORT["deep"], WHERE_NOBODY_HAS_CLEANED) == (0, "")


NOT_AS_KNOWN = """
from resilient_wsgi.core.thread_states import NotAsKnown, ThreadStates
def different(self, interpreter):
    raise NotAsKnown("the first words of a thread state are not prev, next and interp")
ThreadStates._check = different
frames.state.forked()
assert "cannot be removed: the first words" in frames.why_not(), frames.why_not()
assert frames.frames() == {}
"""


def test_where_the_interpreter_is_not_laid_out_as_known_nothing_is_changed_and_nothing_looks():
    assert forked(AT_IMPORT["thread"], NOT_AS_KNOWN) == (0, "")


def test_a_process_that_was_imported_late_but_is_alone_is_cleaned_when_it_is_asked():
    late = "frames.state = frames.Frames(embedded=True)\nassert frames.why_not() == ''\nassert len(frames.frames()) == 1"
    assert forked(AT_IMPORT["thread"], late) == (0, "")


def test_one_that_was_imported_late_with_living_threads_only_may_be_walked():
    late = """
import _thread, threading, time
from resilient_wsgi.core import frames
threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
frames.state = frames.Frames(embedded=True)
assert frames.why_not() == "", frames.why_not()
assert len(frames.frames()) == 2
"""
    assert python(late) == (0, "")


def test_a_fork_that_runs_python_s_callbacks_needs_nothing():
    in_child = "assert frames.why_not() == '' and len(frames.frames()) == 1"
    at_import = f"os.register_at_fork(after_in_child=frames.state.not_forked); {AT_IMPORT['deep']}"
    assert forked(at_import, in_child, "os.fork()")[0] == 0


def test_nobody_looks_but_the_one_place_that_knows_whether_it_may():
    names = {"_current_frames", "dump_traceback", "dump_traceback_later", "faulthandler"}
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (
            isinstance(node, (ast.Import, ast.ImportFrom))
            and any(name.name in names for name in node.names)
        )
    }
    assert found == {"core/frames.py"}


def test_an_interpreter_without_faulthandler_can_install_everything():
    """A subinterpreter with a GIL of its own refuses to import it."""
    code = "import sys; sys.modules['faulthandler'] = None\nimport resilient_wsgi; print(resilient_wsgi.install().status())"
    done, said = python(code)
    assert (done, "Error" in said) == (0, False), said


def test_the_startup_line_and_status_say_that_there_are_no_stacks():
    code = """
import resilient_wsgi
from resilient_wsgi import servers
from resilient_wsgi.core import frames
from resilient_wsgi.servers import Identity, Server

class Worker(Server):
    name = "uwsgi-like"
    def identity(self):
        return Identity("worker", 1, os.getpid(), 0)

import os
servers.use(Worker())
frames.state._reason.set("a free-threaded build changes the list without the GIL")
installation = resilient_wsgi.install()
resilient_wsgi.wrap(lambda environ, start_response: [])
servers.detect().started()
servers.detect().ready()
print([each.means[-1] for each in installation.status() if each.name == "request"])
"""
    done, said = python(code)
    assert done == 0, said
    assert "; no stacks: a free-threaded build changes the list without the GIL" in said
    assert (
        "['no stacks, no GIL_TIMEOUT, and no worker is replaced because of a request: a "
        "free-threaded" in said
    )
