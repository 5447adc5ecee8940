"""Another user of the machine, a full /dev/shm, a neighbouring container, and what clients may
send: none of it harms a service.

What another user does here is done by a process of uid 65534; that takes root.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lab.processes import Gunicorn, Server, wait_until
from resilient_wsgi.cli import main
from resilient_wsgi.host import procfs
from resilient_wsgi.readiness import ReadinessMiddleware, check
from resilient_wsgi.readiness.checks import forget, start
from resilient_wsgi.shm import instance
from tests.scoreboards import in_memory

ROOT = Path(__file__).parents[2]
NOBODY = 65534
HOOKS = {"shared-import": "resilient_wsgi.uwsgi", "hook-accepting": "rpc:resilient_wsgi_ready"}
APP = """
import os, time, resilient_wsgi
installation = resilient_wsgi.install()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/slow"):
        for _ in range(600):
            if not os.path.exists(os.environ["SLOW_WHILE"]):
                break
            time.sleep(0.05)
    elif path.startswith("/busy"):
        time.sleep(0.02)
    body = "\\n".join(map(str, installation.status())) if path == "/status" else "ok"
    length = str(len(body.encode()))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", length)])
    return [body.encode()]

application = resilient_wsgi.wrap(app)
"""
COMMON = {
    "module": "secured",
    "master": True,
    "listen": 100,
    "disable-logging": True,
    "enable-threads": True,
    **HOOKS,
}

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start a process of another user"
)
needs_namespaces = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(
        ["unshare", "-m", "-p", "-f", "--mount-proc", "true"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="no new namespaces here",
)


@pytest.fixture
def app(tmp_path):
    """The folder of an app that says what is installed."""
    (tmp_path / "secured.py").write_text(APP)
    return tmp_path


def uwsgi(app, *, env=(), **options):
    more = {key.replace("_", "-"): value for key, value in options.items()}
    return Server(
        {**COMMON, "pythonpath": [str(app), str(ROOT)], **more}, env=dict(env), start_timeout=30
    )


def ask(port, path="/", headers=(), timeout=5.0):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode()


def started(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


@contextlib.contextmanager
def stranger(code, *arguments):
    """Run code as another user, until it is killed; yield when it has printed a line."""
    program = (
        f"import fcntl, os, sys\nos.umask(0)\n{code}\nprint('done', flush=True)\n"
        "import time\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
         "/usr/bin/env", "python3", "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
    )  # fmt: skip
    try:
        assert select.select([process.stdout], [], [], 60)[0]
        said = process.stdout.readline()
        assert said, process.stderr.read()
        yield said
    finally:
        process.kill()
        process.communicate()


SQUAT = """
kind, path, target = sys.argv[1:]
if kind == "fifo": os.mkfifo(path, 0o666)
elif kind == "symlink": os.symlink(target, path)
elif kind == "directory": os.mkdir(path, 0o777)
elif kind == "private directory": os.mkdir(path, 0o700)
elif kind == "locked":
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(fd, fcntl.LOCK_EX); fcntl.lockf(fd, fcntl.LOCK_EX)
elif kind == "hard link":
    open(path + ".mine", "w").close(); os.link(path + ".mine", path)
"""
KINDS = ("fifo", "symlink", "directory", "private directory", "locked", "hard link")
USE = """
import json, os, sys, time
begin = time.monotonic()
from resilient_wsgi import servers
from resilient_wsgi.errors import Unavailable
from resilient_wsgi.servers import Identity, Server
from resilient_wsgi.shm import folders, instance
folders._wanted = lambda _: [sys.argv[1]]

class Worker(Server):
    def identity(self):
        return Identity("worker", 1, os.getpid(), int(sys.argv[2]))

servers.use(Worker())
from resilient_wsgi.outbound import ledger
from resilient_wsgi.outbound.call_sites import Site
from resilient_wsgi.shm.scoreboard import Scoreboard
from resilient_wsgi.stderr import handover
from resilient_wsgi.stderr.buffer import Dropped

path = instance.directory().path
ledger.add([Site("app.py:1", "host", "without a timeout", 1, 1.0)])
handover.leave(2, Dropped(3, 300))
Scoreboard.of_this_instance().mine().failures = 1
names = instance.directory().names()
print(json.dumps([path, names, handover.take(2), time.monotonic() - begin]), flush=True)
if len(sys.argv) > 3:
    time.sleep(60)
"""


def use(base, master, *more):
    """Use everything that is shared, as a worker of that master does, in a process of its own."""
    command = [sys.executable, "-c", USE, str(base), str(master), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@pytest.fixture
def base():
    """A folder like /dev/shm: open to all, sticky.

    Not in pytest's own, into which only its user may look.
    """
    with tempfile.TemporaryDirectory(prefix="harm-") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def name_of(master):
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return f"resilient_wsgi-{os.geteuid()}-{namespace}-{master}-{started(master)}"


@needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_another_user_has_taken_is_passed_over_without_a_wait_and_nothing_is_written(
    base, kind, tmp_path
):
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    master = os.getpid()
    with stranger(SQUAT, kind, base / name_of(master), target):
        done = use(base, master)
        path, names, left, seconds = json.loads(done.communicate(timeout=30)[0])
        assert Path(path).parent == base
        assert Path(path).name.startswith(name_of(master) + "-")  # not the one that was taken
        assert names == [f"dropped-2-{done.pid}-0", "outbound", "scoreboard"]
        assert left == [3, 300]
        assert seconds < 10
        assert list(target.iterdir()) == []
        squatted = (base / name_of(master)).lstat()
        assert squatted.st_size == 0 or not stat.S_ISREG(squatted.st_mode)


@needs_root
@pytest.mark.parametrize("kind", [*KINDS, "truncated"])
def test_nothing_inside_the_directory_can_be_read_made_held_or_removed_by_another_user(base, kind):
    holder = use(base, os.getpid(), "stay")
    try:
        path, *_ = json.loads(holder.stdout.readline())
        attack = f"""
path = sys.argv[2]
try: print(os.listdir(path))
except PermissionError: pass
for name in ("scoreboard", "outbound", "dropped-2-9-9"):
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC):
        try: os.open(f"{{path}}/{{name}}", flags, 0o666); print("opened", name)
        except PermissionError: pass
    for act in (os.unlink, os.rmdir):
        try: act(f"{{path}}/{{name}}"); print("removed", name)
        except PermissionError: pass
for act in (lambda: os.rename(path, path + "x"), lambda: os.rmdir(path),
            lambda: os.chmod(path, 0o777), lambda: os.open(path, os.O_RDONLY)):
    try: act(); print("did", act)
    except PermissionError: pass
sys.argv[2] += "/requests2"
try:
{"".join(f"    {line}{chr(10)}" for line in SQUAT.splitlines())}
    if kind != "truncated": print("made", kind)
except PermissionError: pass
"""
        with stranger(attack, kind, path, "/etc/passwd") as said:
            assert said == "done\n"
        second = use(base, os.getpid())
        assert json.loads(second.communicate(timeout=30)[0])[0] == path
    finally:
        holder.kill()
        holder.communicate()


@needs_root
def test_another_user_who_fills_the_folder_with_names_changes_nothing(base):
    code = "for n in range(5000): open(f'{sys.argv[1]}/resilient_wsgi-0-1-{n}-1', 'w').close()"
    with stranger(code, base):
        assert json.loads(use(base, os.getpid()).communicate(timeout=30)[0])[3] < 10


@needs_root
@pytest.mark.servers
@pytest.mark.parametrize("lazy", [False, True])
def test_respawned_workers_serve_whatever_another_user_has_put_into_dev_shm(app, lazy):
    with uwsgi(app, processes=2, lazy_apps=lazy) as server:
        pid, when = server.pid, started(server.pid)
        names = [
            f"resilient_wsgi_dropped.0.{pid}.{when}.2.1.1",
            f"resilient_wsgi.0.{pid}.{when}x",
            f"{name_of(pid)}x",
        ]
        code = "for name in sys.argv[1:]: os.mkfifo('/dev/shm/' + name, 0o666)"
        try:
            with stranger(code, *names):
                old = server.workers()
                for worker in old:
                    os.kill(worker, signal.SIGKILL)
                assert wait_until(lambda: len(set(server.workers()) - set(old)) == 2, 15)
                assert [ask(server.port) for _ in range(4)] == [(200, "ok")] * 4
        finally:
            for name in names:
                Path("/dev/shm", name).unlink(missing_ok=True)


@needs_root
@pytest.mark.servers
def test_gunicorn_s_workers_load_whatever_another_user_holds(app):
    (app / "loaded.py").write_text(
        "import time; time.sleep(1)\nimport resilient_wsgi\n"
        "application = resilient_wsgi.load('secured:app')\n"
    )
    with contextlib.ExitStack() as stack:
        server = Gunicorn("loaded", [], env={"PYTHONPATH": f"{app}:{ROOT}"})
        lock = (
            "for path in sys.argv[1:]: "
            "fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), fcntl.LOCK_EX)"
        )
        server._await_readiness = lambda: None
        stack.enter_context(server)
        pid = server.pid
        paths = [f"/tmp/resilient_wsgi-0-{pid}-{started(pid)}", f"/dev/shm/{name_of(pid)}"]
        with stranger(lock, *paths):
            assert wait_until(lambda: Path(paths[0]).exists(), 5)
            assert wait_until(lambda: answers(server.port), 15), server.error("does not serve")
        for path in paths:
            Path(path).unlink(missing_ok=True)


def answers(port):
    try:
        return ask(port, timeout=1.0)[0] == 200
    except OSError:
        return False


@needs_namespaces
@pytest.mark.servers
@pytest.mark.parametrize("lazy", [False, True])
def test_a_full_dev_shm_kills_no_worker_and_status_says_what_is_off(app, lazy):
    inside = app / "inside.sh"
    inside.write_text(
        "mount -t tmpfs -o size=64k tmpfs /dev/shm && "
        'head -c 60000 /dev/zero > /dev/shm/fill; exec "$@"\n'
    )

    class InSmallMemory(Server):
        def command(self):
            return ["unshare", "-m", "sh", str(inside), *super().command()]

    more = {"pythonpath": [str(app), str(ROOT)], "processes": 2, "lazy-apps": lazy}
    environment = {
        "RESILIENT_WSGI_REQUEST_TIMEOUT": "20",
        "RUNTIME_DIRECTORY": None,
        "XDG_RUNTIME_DIR": None,
    }
    with InSmallMemory({**COMMON, **more}, env=environment) as server:
        workers = server.workers()
        for _ in range(8):
            status, text = ask(server.port, "/status")
            assert status == 200
            assert re.search(
                "^readiness: .*MISSING: what exec probes read .*no room in /dev/shm",
                text,
                re.MULTILINE,
            )
        assert server.workers() == workers
        assert "SIGBUS" not in server.log()
        assert "signal 7" not in server.log()


@needs_namespaces
def test_of_two_pid_namespaces_that_share_a_folder_neither_sweeps_what_the_other_has(tmp_path):
    base = tmp_path
    elsewhere = ["unshare", "-p", "-f", "--mount-proc"]
    first = use(base, os.getpid(), "stay")
    kept = json.loads(first.stdout.readline())[0]
    try:
        for _ in range(2):
            command = [*elsewhere, sys.executable, "-c", USE, str(base), "1"]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                check=True,
                timeout=30,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            other = json.loads(done.stdout)[0]
            assert Path(other).name.split("-")[2] != Path(kept).name.split("-")[2]
            assert sorted(os.listdir(kept)) == ["outbound", "scoreboard"]
        # the first of the two is held by nobody any more: the second has swept it
        assert {path.name for path in base.iterdir()} == {Path(kept).name, Path(other).name}
    finally:
        first.kill()
        first.communicate()


@pytest.mark.servers
def test_what_a_killed_instance_has_left_is_swept_by_the_next_one(app):
    base = app / "run"
    base.mkdir()
    for _ in range(2):
        with uwsgi(app, processes=2, env={"RUNTIME_DIRECTORY": str(base)}) as server:
            assert ask(server.port) == (200, "ok")
            assert [path.name.split("-")[3] for path in base.iterdir()] == [str(server.pid)]


@pytest.mark.servers
@pytest.mark.parametrize("lazy", [True, False])
def test_an_orderly_end_leaves_nothing_and_a_reload_keeps_what_is_there(app, lazy, tmp_path):
    base = app / "run"
    base.mkdir()
    with uwsgi(app, processes=2, lazy_apps=lazy, env={"RUNTIME_DIRECTORY": str(base)}) as server:
        assert ask(server.port) == (200, "ok")
        (directory,) = base.iterdir()
        (directory / "outbound").write_text("[]")
        (directory / "dropped-2-1-1").write_text("1 10")
        old = server.workers()
        server.signal(signal.SIGHUP)
        assert wait_until(
            lambda: len(server.workers()) == 2 and not set(old) & set(server.workers()), 30
        )
        assert wait_until(lambda: ask(server.port) == (200, "ok"), 10)
        assert (directory / "outbound").exists()
        server.signal(signal.SIGINT)
        assert wait_until(lambda: not server.alive(), 30)
        assert list(base.iterdir()) == []


# What clients send


def test_the_details_of_readiness_are_not_told_to_who_comes_from_this_host():
    @check(name="billing")
    def billing():
        return "postgres://shop:S3CRET@db1.internal/shop does not answer"

    said = []
    environ = {"PATH_INFO": "/-/ready", "REQUEST_METHOD": "GET", "REMOTE_ADDR": "127.0.0.1"}
    try:
        start()
        body = b"".join(
            ReadinessMiddleware(lambda *_: [])(environ, lambda status, _: said.append(status))
        )
    finally:
        forget("billing")
    assert json.loads(body) == {"status": "not ready"}
    assert said == ["503 Service Unavailable"]


@pytest.mark.servers
def test_control_characters_of_a_path_reach_neither_the_log_nor_the_terminal(app, tmp_path):
    slow = tmp_path / "slow"
    slow.touch()
    path = "/slow%0A2026-01-01%20FAKE%20LOGIN%0D%1b%5B2J%E2%80%AE?password=S3CRET"
    environment = {
        "RESILIENT_WSGI_REQUEST_TIMEOUT": "60",
        "RESILIENT_WSGI_REQUEST_SLOW_AFTER": "0.3",
        "SLOW_WHILE": str(slow),
    }
    with uwsgi(app, processes=1, threads=2, env=environment) as server:
        thread = threading.Thread(target=ask, args=(server.port, path), kwargs={"timeout": 60.0})
        thread.start()
        server.wait_for_log(r"GET /slow.* has run for")
        command = [sys.executable, "-m", "resilient_wsgi", "stacks", str(server.pid)]
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
        ).stdout
        slow.unlink()
        thread.join()
        for text in (server.log(), shown):
            assert "/slow\\n2026-01-01 FAKE LOGIN\\r\\x1b[2J" in text
            assert all(line.isprintable() for line in text.replace("\t", " ").split("\n"))
            assert not re.search("^2026-01-01 FAKE", text, re.MULTILINE)
            assert "S3CRET" not in text


def stamp(seconds=0.0):
    return f"t={(time.time() + seconds) * 1000:.0f}"


FORGED = {
    "a future stamp where the router appends": lambda: {
        "X-Request-Start": f"{stamp(100)}, {stamp()}"
    },
    "a future stamp in the header that is not the router's": lambda: {
        "X-Request-Start": stamp(),
        "X-Queue-Start": stamp(100),
    },
    "a future stamp past the router": lambda: {"X-Request-Start": stamp(100)},
    "a stamp of long ago past the router": lambda: {"X-Request-Start": stamp(-100)},
}


@pytest.mark.servers
def test_one_forged_stamp_has_nobody_else_s_request_refused(app):
    """One worker of 20 ms and 6 clients, so that there is always a queue."""
    with uwsgi(app, processes=1) as server:
        answers, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                answers.append(ask(server.port, "/busy", {"X-Request-Start": stamp()})[0])

        clients = [threading.Thread(target=client) for _ in range(6)]
        for each in clients:
            each.start()
        try:
            for forge in FORGED.values():
                before = len(answers)
                assert wait_until(lambda before=before: len(answers) > before + 20, 20)
                assert ask(server.port, "/busy", forge())[0] in (200, 503)
                before = len(answers)
                assert wait_until(lambda before=before: len(answers) > before + 30, 20)
        finally:
            stop.set()
            for each in clients:
                each.join()
        assert set(answers) == {200}


def test_a_lock_whose_holder_is_stopped_is_waited_for_no_longer_than_a_second():
    board = in_memory(1)
    ready, stopped = os.pipe()
    holder = os.fork()
    if not holder:
        with board.lock():
            os.write(stopped, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.read(ready, 1)
        os.waitpid(holder, os.WUNTRACED)
        begin = time.monotonic()
        with board.lock():
            assert 0.9 < time.monotonic() - begin < 10
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(ready)
        os.close(stopped)


# Python may lie in root's closed home: a mount namespace in which that home shows nothing but
# Python
OPENED = """
set -e
if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$PREFIX/bin"; then
    mkdir "$PWD/python"
    mount --bind "$PREFIX" "$PWD/python"
    closed="/$(echo "$PREFIX" | cut -d/ -f2)"
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$PREFIX"
    mount --move "$PWD/python" "$PREFIX"
fi
exec "$@"
"""


class Opened:
    """A server whose Python any user can run."""

    def command(self):
        self.directory.chmod(0o755)
        return ["unshare", "--mount", "sh", "-c", OPENED, "sh", *super().command()]


class OpenedUwsgi(Opened, Server):
    pass


class OpenedGunicorn(Opened, Gunicorn):
    pass


@needs_root
@needs_namespaces
@pytest.mark.servers
@pytest.mark.parametrize("how", ["uid", "master-as-root", "gunicorn", "gunicorn --preload"])
def test_the_directory_belongs_to_the_user_of_the_workers_and_is_found_by_the_master(how, base):
    (base / "secured.py").write_text(APP)
    env = {
        "RUNTIME_DIRECTORY": str(base),
        "PYTHONPATH": f"{base}:{ROOT}",
        "PREFIX": sys.base_prefix,
    }
    if how.startswith("gunicorn"):
        server = OpenedGunicorn(
            "secured", [f"--user={NOBODY}", f"--group={NOBODY}", *how.split()[1:]], env=env
        )
    else:
        more = {"uid": NOBODY, "gid": NOBODY, **({"master-as-root": True} if how != "uid" else {})}
        server = OpenedUwsgi({**COMMON, "pythonpath": [str(base), str(ROOT)], **more}, env=env)
    with server:
        assert wait_until(lambda: answers(server.port), 15), server.error("does not serve")
        made = [path for path in base.iterdir() if path.name.startswith("resilient_wsgi-")]
        assert [path.stat().st_uid for path in made] == [NOBODY]
        assert instance.find(server.pid).path == str(made[0])
        assert "scoreboard" in instance.find(server.pid).names()


def as_nobody(*arguments):
    """Run the command line as another user; return its exit code and what it printed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        sys.stdout, sys.stderr = (open(fd, "w", closefd=False) for fd in (1, 2))  # noqa: SIM115
        os._exit(main(list(arguments)))
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@needs_root
@needs_namespaces
@pytest.mark.servers
@pytest.mark.parametrize("how", ["uid", "master-as-root"])
def test_exec_probes_work_as_root_and_as_the_user_of_the_workers_whatever_the_master_is(
    how, base, monkeypatch, capsys
):
    (base / "secured.py").write_text(APP)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(base))
    env = {"RUNTIME_DIRECTORY": str(base), "PREFIX": sys.base_prefix}
    env["RESILIENT_WSGI_READINESS_DRAIN_DELAY"] = "0.1"
    more = {"uid": NOBODY, "gid": NOBODY, **({"master-as-root": True} if how != "uid" else {})}
    with OpenedUwsgi({**COMMON, "pythonpath": [str(base), str(ROOT)], **more}, env=env) as server:
        pid = str(server.pid)
        assert wait_until(lambda: main(["ready", pid]) == 0, 15), server.error("is not ready")
        assert as_nobody("ready", pid)[0] == 0, as_nobody("ready", pid)
        assert as_nobody("ready", pid, "--workers=2")[0] == 1
        assert as_nobody("drain", pid, "--timeout=20") == (0, "drained\n")
        assert main(["ready", pid]) == 1
        assert "drained: draining: serves nothing" in capsys.readouterr().out


@needs_root
@needs_namespaces
@pytest.mark.servers
def test_exec_probes_of_the_host_see_an_instance_in_a_container(app, capsys):
    class InContainer(Server):
        def command(self):
            mounts = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
            return ["unshare", "-m", "-p", "-f", "--mount-proc", "sh", "-c", mounts, "sh",
                    *super().command()]  # fmt: skip

    more = {"pythonpath": [str(app), str(ROOT)], "processes": 2}
    with InContainer({**COMMON, **more}, env={"RUNTIME_DIRECTORY": None}) as server:
        # `unshare` waits outside for the master, which is process 1 inside
        (master,) = procfs.children(server.pid)
        assert wait_until(lambda: main(["ready", "--workers=2", str(master)]) == 0, 15)
        said = capsys.readouterr().out.splitlines()[-3:]
        assert re.match(r"worker 2 \(pid \d{1,2}\) serving$", said[-1])
        for worker in procfs.children(master):
            assert main(["ready", "--workers=2", str(worker)]) == 0
        os.kill(master, signal.SIGINT)  # `unshare` hands on no signal
