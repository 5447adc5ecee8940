"""A deploy that cannot be loaded takes nothing away that served before, and what names no app is no
failure.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
import urllib.error
import urllib.request

import pytest

from bench.readiness.cases import FOLDER, NOT_NOW, instance, options
from lab.measuring import load
from lab.processes import Gunicorn, ProcessError, wait_until
from resilient_wsgi.cli import main
from resilient_wsgi.readiness.states import SERVING
from resilient_wsgi.shm import instance as shm

pytestmark = pytest.mark.servers

SOON = {"RESILIENT_WSGI_READINESS_FIRST_PAUSE": "0.3", "RESILIENT_WSGI_READINESS_MAX_PAUSE": "0.6"}
VICTIM = "chain next victim is worker"


def failures(running):
    with contextlib.suppress(*NOT_NOW):  # it is just being reloaded
        return sum(row.failures for row in running.rows())
    return 0


def all_serve(running, within=20.0):
    def serve():
        with contextlib.suppress(*NOT_NOW):
            return all(row.state == SERVING and row.ready for row in running.rows())
        return False

    return wait_until(serve, within)


def ask(running, count=40):
    return load.by_status(
        load.closed_loop(running.server.port, "/", count=count, clients=4, patience=5.0)
    )


def chain(running, fifo):
    with open(fifo, "w", encoding="ascii") as file:
        file.write("c")


# A chain reload


# the others: bench/readiness/reloads.py
@pytest.mark.parametrize("kind", ["import", "callable", "killed", "hang"])
def test_a_chain_reload_stops_at_the_first_worker_that_cannot_load_and_the_others_go_on_serving(
    kind, tmp_path
):
    fifo = str(tmp_path / "fifo")
    env = {**SOON, "RESILIENT_WSGI_READINESS_STARTUP_TIMEOUT": "1"}
    with instance(options(master_fifo=fifo, processes=2), env=env) as running:
        assert all_serve(running)
        running.fail_ever(kind)
        chain(running, fifo)
        until = time.monotonic() + 15
        while failures(running) < 2 and time.monotonic() < until:
            assert list(ask(running)) == ["200"]
            time.sleep(0.1)
        assert failures(running) >= 2, running.server.error("did not fail")
        assert len(running.events(VICTIM)) == 1
        assert [row.spawns == 1 for row in running.rows()] == [False, True]
        assert list(ask(running)) == ["200"]


def test_a_chain_reload_that_waits_goes_on_when_the_app_is_mended(tmp_path):
    fifo = str(tmp_path / "fifo")
    with instance(options(master_fifo=fifo, processes=2), env=SOON) as running:
        assert all_serve(running)
        running.fail_next("import", 2)
        chain(running, fifo)
        assert wait_until(lambda: len(running.events("chain reloading complete")) == 1, 20)
        assert len(running.events(VICTIM)) == 2
        assert running.full_strength()


def test_a_chain_reload_passes_over_no_worker_whose_checks_fail_while_no_other_is_ready(tmp_path):
    fifo = str(tmp_path / "fifo")
    (tmp_path / "told").write_text("no")
    env = {"RESILIENT_WSGI_READINESS_WARM_UP": "0", "TOLD": str(tmp_path / "told")}
    with instance(
        options(master_fifo=fifo, processes=2, module="readiness_checked_app"), env=env
    ) as running:
        assert running.full_strength()
        chain(running, fifo)
        assert wait_until(lambda: len(running.events("chain reloading complete")) == 1, 20)
        assert len(running.events(VICTIM)) == 2


# A reload of the instance


@pytest.mark.parametrize("kind", ["import", "crash"])
def test_after_a_reload_with_a_bad_deploy_lazy_workers_keep_trying_and_heal_by_themselves(kind):
    with instance(
        options(processes=2), env={**SOON, "RESILIENT_WSGI_READINESS_STARTUP_TIMEOUT": "1"}
    ) as running:
        assert all_serve(running)
        running.fail_ever(kind)
        running.server.signal(signal.SIGHUP)
        # a cold start ends after three tries of each
        assert wait_until(lambda: failures(running) >= 7, 25)
        assert running.server.alive(), running.server.error("ended")
        assert main(["ready", str(running.server.pid)]) == 1
        running.clear()
        assert running.full_strength()
        assert set(ask(running)) == {"200"}


def test_after_a_reload_with_a_bad_deploy_a_prefork_instance_stays_and_heals_by_itself():
    with instance(options(lazy=False, processes=2), env=SOON) as running:
        assert all_serve(running)
        running.fail_ever("callable")
        running.server.signal(signal.SIGHUP)
        assert wait_until(lambda: len(running.events("has no app")) >= 3, 25), running.server.error(
            "gave up"
        )
        assert running.server.alive()
        assert main(["ready", str(running.server.pid)]) != 0
        running.clear()
        assert running.full_strength()
        assert set(ask(running)) == {"200"}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_reload_by_the_operator_cuts_the_pause_of_a_prefork_instance_short(threads):
    with instance(options(lazy=False, processes=2, threads=threads), env=LONG_PAUSE) as running:
        assert all_serve(running)
        running.fail_ever("import")
        running.server.signal(signal.SIGHUP)
        running.server.wait_for_log("has no app")
        running.clear()
        began = time.monotonic()
        running.server.signal(signal.SIGHUP)
        assert running.full_strength()
        assert time.monotonic() - began < 10
        assert "NO MERCY" not in running.server.log()


LONG_PAUSE = {
    "RESILIENT_WSGI_READINESS_FIRST_PAUSE": "50",
    "RESILIENT_WSGI_READINESS_MAX_PAUSE": "50",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_prefork_instance_that_waits_for_a_mended_app_can_be_stopped(number):
    with instance(options(lazy=False, processes=2), env=LONG_PAUSE) as running:
        assert all_serve(running)
        running.fail_ever("import")
        running.server.signal(signal.SIGHUP)
        running.server.wait_for_log("has no app")
        assert running.server.stop(number, patience=8) < 8


def test_a_prefork_instance_with_a_spooler_is_not_reloaded_by_itself_but_by_the_operator(tmp_path):
    (tmp_path / "spool").mkdir()
    with instance(
        options(lazy=False, processes=2, spooler=str(tmp_path / "spool")), env=SOON
    ) as running:
        assert all_serve(running)
        running.fail_ever("import")
        running.server.signal(signal.SIGHUP)
        running.server.wait_for_log("has no app .*; next try at the next reload of the instance")
        spawned = running.server.log().count("spawned the uWSGI spooler")
        running.clear()
        time.sleep(2)  # longer than any pause
        assert running.server.log().count("spawned the uWSGI spooler") == spawned
        running.server.signal(signal.SIGHUP)
        assert running.full_strength()


def test_a_cold_start_that_never_loads_still_ends_with_22():
    with instance(options(processes=2), fail_first="import", ever=True, env=SOON) as running:
        assert wait_until(lambda: not running.server.alive(), 20)
        assert running.server.returncode == 22
        # of two that fail at the same moment neither knows that it was the last
        assert running.events("attempt 3; that was the last try") or running.events(
            "that ends the instance"
        )


def test_a_cold_start_in_prefork_says_in_one_line_why_it_ends():
    said = "the instance ends. Last: ModuleNotFoundError: No module named 'no_such_module'"
    with pytest.raises(ProcessError, match=rf"ended with code 22[\s\S]*{said}"):
        with instance(options(lazy=False), fail_first="import", ever=True):
            pass


def test_a_reload_of_an_instance_that_never_served_is_no_reason_to_stay():
    # the reload is to come before the last try: an end that is under way already would be overtaken
    # by it
    env = {
        **SOON,
        "RESILIENT_WSGI_READINESS_FIRST_PAUSE": "3",
        "RESILIENT_WSGI_READINESS_MAX_PAUSE": "3",
    }
    with instance(options(processes=2), fail_first="import", ever=True, env=env) as running:
        running.server.wait_for_log("has no app")
        running.server.signal(signal.SIGHUP)
        running.server.wait_for_log("binary reloading uWSGI")
        assert wait_until(lambda: not running.server.alive(), 25)
        assert running.server.returncode == 22


def test_a_prefork_instance_that_is_reloaded_before_it_has_ever_served_ends_all_the_same(tmp_path):
    (tmp_path / "broken_urls.py").write_text("import no_such_module\n")
    (tmp_path / "never_serves.py").write_text(
        "from django.conf import settings\n"
        "settings.configure(SECRET_KEY='x', ROOT_URLCONF='broken_urls')\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "application = get_wsgi_application()\n"
    )
    chosen = options(lazy=False, processes=2, module="never_serves", pythonpath=str(tmp_path))
    with instance(chosen, env=SOON) as running:
        running.server.wait_for_log("spawned uWSGI worker 2")
        running.server.signal(signal.SIGHUP)  # within the second in which it gives up
        running.server.wait_for_log("binary reloading uWSGI")
        assert wait_until(lambda: not running.server.alive(), 15), running.server.error(
            "went on for ever"
        )
        assert running.server.returncode == 22


def test_a_second_failure_after_a_reload_is_forgotten_by_one_that_went_well():
    # the process that starts the server may have one of its own, which says nothing of the server's
    # loads
    shm.directory()
    with instance(options(lazy=False, processes=1), env=SOON) as running:
        for _ in range(2):
            assert all_serve(running)
            running.fail_next("import", 2)
            running.server.signal(signal.SIGHUP)
            assert wait_until(lambda: running.tokens_left() == 0, 20)
            assert running.full_strength()
        attempts = [re.search(r"attempt (\d)", line)[1] for line in running.events("has no app")]
        assert attempts == ["1", "2", "1", "2"]


# What is no failure


NOTHING = {
    "spooler": {"spooler": "{folder}"},
    "mule": {"mule": "{folder}/work.py"},
    "static files": {"static-map": "/={folder}"},
    "dynamic mode": {},
    "emperor": {"emperor": "{folder}"},
}


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("what", NOTHING)
def test_an_instance_that_names_no_app_runs_as_without_the_library(what, lazy, tmp_path):
    (tmp_path / "work.py").write_text("import time\nwhile True:\n    time.sleep(1)\n")
    chosen = options(lazy=lazy, processes=1)
    del chosen["module"]
    chosen.update({name: value.format(folder=tmp_path) for name, value in NOTHING[what].items()})
    with instance(chosen, env={**SOON, "RESILIENT_WSGI_READINESS_ATTEMPTS": "1"}) as running:
        assert all_serve(running)
        assert main(["ready", str(running.server.pid)]) == 0
        path = "/work.py" if what == "static files" else "/"
        assert set(ask_for(running, path)) == {"200" if what == "static files" else "500"}
        assert running.server.alive()
        assert "has no app" not in running.server.log()


def ask_for(running, path):
    return load.by_status(
        load.closed_loop(running.server.port, path, count=8, clients=2, patience=5.0)
    )


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("import", "no app for mount /bad"), ("callable", "'application' of .* is not callable")],
)
@pytest.mark.parametrize("lazy", [True, False])
def test_a_broken_mount_leaves_its_sibling_alone_and_readiness_says_degraded(
    kind, missing, lazy, capsys
):
    mounts = ["/good=bench.wrap.hello_app:application", "/bad=readiness_app:application"]
    chosen = {
        **options(lazy=lazy, processes=1),
        "mount": mounts,
        "manage-script-name": True,
        "single-interpreter": True,
    }
    del chosen["module"]
    with instance(chosen, fail_first=kind, ever=True) as running:
        assert all_serve(running)
        assert set(ask_for(running, "/good")) == {"200"}
        capsys.readouterr()
        assert main(["ready", str(running.server.pid)]) == 0
        said = capsys.readouterr().out
        assert said.startswith("ready (degraded)\n")
        assert re.search("worker 1 .* serving: " + missing, said)
        assert re.search("worker 1 is degraded: " + missing, running.server.log())


# What is said


def test_a_crash_is_said_to_be_a_crash_with_its_signal():
    with instance(options(processes=1), fail_first="crash", loads=1) as running:
        assert all_serve(running)
        # where another thread gets the signal that uWSGI sends to end the process, there is nobody
        # left to tell of it
        said = (
            r"has no app \(its load (crashed: SIGSEGV|was killed: a crash, .* by which signal)\), "
            "attempt 1; next try"
        )
        assert re.search(said, running.server.log())
        assert "has no 'application'" not in running.server.log()


def test_a_load_that_was_too_slow_is_said_to_be_that():
    with instance(options(processes=1), fail_first="hang", loads=1) as running:
        assert all_serve(running)
        assert "(its load took longer than 2 s and was ended), attempt 1" in running.server.log()


def test_an_app_that_has_closed_standard_error_cannot_have_its_failure_lost(tmp_path):
    (tmp_path / "closing_app.py").write_text(
        "import os\nos.close(2)\nraise RuntimeError('no\\r\\nforged \\x1b[2J')\n"
    )
    chosen = {**options(processes=1), "module": "closing_app", "pythonpath": str(tmp_path)}
    with instance(chosen, env={**SOON, "RESILIENT_WSGI_READINESS_ATTEMPTS": "2"}) as running:
        assert wait_until(lambda: not running.server.alive(), 20)
        log = running.server.log()
    assert "attempt 1; next try in" in log
    assert "attempt 2; that was the last try" in log
    ours = [line for line in log.splitlines() if "has no app" in line or "ever loaded" in line]
    assert all(r"RuntimeError: no; forged \x1b[2J" in line for line in ours)


def test_a_message_of_several_lines_is_one_that_can_be_read_and_lists_all_mistakes(
    tmp_path, capsys
):
    mistakes = [f"option NUMBER_{number} takes a number, got 'x{number}'" for number in range(6)]
    text = "6 mistakes in the settings:\n" + "".join(f"  - {mistake}\n" for mistake in mistakes)
    (tmp_path / "mistaken_app.py").write_text(f"raise ValueError({text!r})\n")
    chosen = {**options(processes=1), "module": "mistaken_app", "pythonpath": str(tmp_path)}
    with instance(chosen, env={**SOON, "RESILIENT_WSGI_READINESS_FIRST_PAUSE": "60"}) as running:
        expected = "ValueError: 6 mistakes in the settings: " + "; ".join(mistakes)
        assert wait_until(lambda: f"has no app ({expected})" in running.server.log(), 20)
        capsys.readouterr()
        assert main(["ready", str(running.server.pid)]) == 1
        assert expected in capsys.readouterr().out


def test_without_a_master_the_first_failure_is_the_last_and_said_to_be():
    chosen = options(processes=1)
    del chosen["master"]
    with pytest.raises(
        ProcessError, match=r"ended with code 22[\s\S]*attempt 1; that was the last try"
    ):
        # if it did not end before it was looked at
        with instance(chosen, fail_first="import", ever=True) as running:
            wait_until(lambda: not running.server.alive(), 10)
            raise running.server.error(f"ended with code {running.server.returncode}")


# gunicorn


@contextlib.contextmanager
def gunicorn(folder, *arguments, module="readiness_loaded_app"):
    """Start it with an app whose loads go wrong as files in `folder` say."""
    tokens = folder / "tokens"
    tokens.mkdir()
    env = {
        "TOKENS": str(tokens),
        "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, FOLDER.parent))),
        **SOON,
    }
    with Gunicorn(f"{module}:application", ["--workers=2", *arguments], env=env) as server:
        yield server, tokens


def gunicorn_serves(server):
    return (
        len({answer.worker for answer in load.burst(server.port, "/", 10, 5.0) if answer.good}) == 2
    )


@pytest.mark.parametrize("kind", ["import", "killed"])
def test_after_hup_with_a_bad_deploy_gunicorn_stays_and_heals_by_itself(tmp_path, kind):
    with gunicorn(tmp_path) as (server, tokens):
        assert wait_until(lambda: gunicorn_serves(server), 10)
        (tokens / f"ever-{kind}").touch()
        server.signal(signal.SIGHUP)
        # a cold start halts after three tries of each
        assert wait_until(lambda: server.log().count("has no app") > 3 * 2, 20), server.error(
            "gave up"
        )
        assert server.alive()
        (tokens / f"ever-{kind}").unlink()
        assert wait_until(lambda: gunicorn_serves(server), 15), server.error("did not heal")


def test_a_lone_worker_of_gunicorn_that_is_recycled_does_not_make_it_forget_that_it_has_served(
    tmp_path,
):
    with gunicorn(tmp_path, "--workers=1", "--max-requests=3") as (server, tokens):
        assert wait_until(lambda: load.get(server.port, "/").status == "200", 10)
        (tokens / "ever-import").touch()
        load.burst(server.port, "/", 5, 5.0)
        # one that has never served halts after three
        assert wait_until(lambda: server.log().count("has no app") > 3, 20), server.error("gave up")
        assert server.alive()
        (tokens / "ever-import").unlink()
        assert wait_until(lambda: load.get(server.port, "/").status == "200", 15)


def test_while_developing_gunicorn_shows_a_syntax_error_and_loads_again_when_the_file_changes(
    tmp_path,
):
    app = tmp_path / "developed.py"
    good = "import resilient_wsgi\napplication = resilient_wsgi.load('inner_developed')\n"
    app.write_text(good)
    inner = tmp_path / "inner_developed.py"
    inner.write_text("def application(\n")
    arguments = ["--reload", "--reload-engine=poll", f"--chdir={tmp_path}"]
    with gunicorn(tmp_path, *arguments, module="developed") as (server, _):
        assert b"load_wsgi" in http_body(server.port)  # the traceback
        assert "has no app" not in server.log()
        inner.write_text("from readiness_loaded_app import application\n")
        for _ in range(8):
            # gunicorn's poll compares with what it has seen first, which may be the mended file
            inner.touch()
            if wait_until(lambda: gunicorn_serves(server), 3):
                break
        else:
            raise server.error("did not load again")


def http_body(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()
