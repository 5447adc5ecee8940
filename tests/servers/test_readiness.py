"""A worker that has no app never answers, and comes back by itself: real uWSGI, each with one way
of failing.
"""

from __future__ import annotations

import re
import signal
import time

import pytest

from bench.readiness.cases import KINDS, LOADED_BY_US, NAMINGS, instance, options
from lab.measuring import load, procfs
from lab.processes import ProcessError, wait_until
from resilient_wsgi.readiness.states import PAUSING, SERVING

pytestmark = pytest.mark.servers

REQUESTS = 200
LOAD_SECONDS = 0.1
LONG_PAUSE = {"RESILIENT_WSGI_READINESS_FIRST_PAUSE": "25"}
ONE_TRY = {"RESILIENT_WSGI_READINESS_ATTEMPTS": "1"}


def ask(running, count=REQUESTS):
    return load.by_status(
        load.closed_loop(running.server.port, "/", count=count, clients=8, patience=20.0)
    )


def pauses(running):
    """Return all pauses that the log tells of, in seconds."""
    return [float(pause) for pause in re.findall(r"next try in ([\d.]+) s", running.server.log())]


def pausing(running, workers=4):
    """Wait until this many workers pause before their next load."""
    assert wait_until(lambda: sum(row.state == PAUSING for row in running.rows()) == workers, 10)


def ended(running, within=25.0):
    """Return the exit code."""
    assert wait_until(lambda: not running.server.alive(), within), running.server.error(
        "still runs"
    )
    return running.server.returncode


def test_uwsgi_without_the_library_answers_500_for_ever_from_workers_whose_load_failed():
    with instance(options(protected=False), fail_first="import") as running:
        assert wait_until(lambda: running.tokens_left() == 0, 10)
        for _ in range(2):
            assert ask(running).get("500", 0) > REQUESTS // 10


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_makes_a_load_fail_no_request_gets_a_500_and_all_workers_come_back(kind):
    with instance(options(), fail_first=kind) as running:
        assert ask(running) == {"200": REQUESTS}
        assert running.full_strength(), running.server.error("did not come back")
        assert len(running.events("has no app")) == 2
        assert "respawning too fast" not in running.server.log()


@pytest.mark.parametrize("naming", [naming for naming in NAMINGS if naming != "module"])
def test_however_the_app_is_named_workers_come_back(naming):
    with instance(options(naming, need_app=True), fail_first="attribute") as running:
        assert ask(running) == {"200": REQUESTS}
        assert running.full_strength(), running.server.error("did not come back")


@pytest.mark.parametrize("kind", ["import", "attribute"])
@pytest.mark.parametrize("single", [True, False])
def test_of_several_mounts_one_that_fails_takes_no_other_along(kind, single):
    mounts = [
        "/first=bench.wrap.hello_app:application",
        "/middle=readiness_app:application",
        "/last=bench.wrap.hello_app:application",
    ]
    chosen = {
        **options(),
        "mount": mounts,
        "manage-script-name": True,
        "single-interpreter": single,
    }
    del chosen["module"]
    with instance(chosen, fail_first=kind) as running:
        assert wait_until(lambda: [row.state for row in running.rows()] == [SERVING] * 4, 10)
        for path in ("/first", "/last"):
            answers = load.closed_loop(
                running.server.port, path, count=60, clients=6, patience=20.0
            )
            assert load.by_status(answers) == {"200": 60}
        assert not running.events("has no app")
        assert len(running.events("is degraded: no app for mount /middle")) == 2


def test_workers_that_fail_when_they_are_respawned_come_back():
    with instance(options()) as running:
        assert running.full_strength()
        running.fail_next("memory", 3)
        running.respawn(2)
        assert ask(running) == {"200": REQUESTS}
        assert wait_until(lambda: running.tokens_left() == 0, 10)
        assert running.full_strength(), running.server.error("did not come back")


@pytest.mark.parametrize("kind", ["import", "killed"])
def test_all_may_fail_right_after_all_were_respawned_and_are_back_after_the_pause_and_the_load(
    kind,
):
    with instance(options()) as running:
        assert running.full_strength()
        running.fail_next(kind, 4)
        running.respawn(4)
        assert wait_until(lambda: running.tokens_left() == 0, 20)
        gone = time.monotonic()
        assert wait_until(lambda: [row.state for row in running.rows()] == [SERVING] * 4, 20)
        last_pause = max(pauses(running))
        assert max(row.since for row in running.rows()) - gone <= last_pause + LOAD_SECONDS + 2.0
        assert "respawning too fast" not in running.server.log()
        assert ask(running) == {"200": REQUESTS}


def test_a_delay_of_the_master_that_is_configured_is_left_alone():
    with instance(options(forkbomb_delay=1)) as running:
        assert running.full_strength()
        running.fail_next("killed", 4)
        running.respawn(4)
        running.server.wait_for_log(r"respawning too fast !!! i have to sleep a bit \(1 seconds\)")


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_load_that_fails_in_the_master_ends_the_instance_with_a_code_of_failure(naming):
    with pytest.raises(ProcessError, match=r"ended with code 22[\s\S]*no_such_module"):
        with instance(options(naming, lazy=False), always="import"):
            pass


def test_a_load_that_hangs_in_the_master_is_ended_with_its_stack_if_that_is_wanted():
    with pytest.raises(
        ProcessError, match=r"ended with code 22[\s\S]*takes longer than 2 s[\s\S]*in go_wrong"
    ):
        with instance(options(lazy=False), always="hang"):
            pass


def test_a_load_in_the_master_that_ends_in_time_is_not_ended_later():
    with instance(
        options(lazy=False), env={"RESILIENT_WSGI_READINESS_STARTUP_TIMEOUT": "1"}
    ) as running:
        time.sleep(1.5)
        running.respawn(2)
        running.server.wait_for_log("Respawned uWSGI worker", count=2)
        assert ask(running) == {"200": REQUESTS}
        assert running.full_strength()


def test_something_that_is_not_an_app_ends_a_prefork_instance_with_a_code_of_failure():
    with instance(options(lazy=False, http="127.0.0.1:0"), always="callable") as running:
        assert ended(running) == 22
        assert (
            "'application' of module 'readiness_app' is not callable: 'this is text'"
            in running.server.log()
        )
        assert "no python application found" not in running.server.log()


@pytest.mark.parametrize("kind", ["import", "killed"])
def test_if_no_worker_ever_loads_the_instance_ends_with_a_code_of_failure(kind):
    with instance(
        options(), always=kind, env={"RESILIENT_WSGI_READINESS_ATTEMPTS": "2"}
    ) as running:
        assert ended(running) == 22
        assert len(running.events("the instance ends")) == 1
        assert "respawning too fast" not in running.server.log()


def test_as_long_as_one_worker_serves_the_others_keep_trying_with_growing_pauses():
    with instance(
        options(processes=2), env={**ONE_TRY, "RESILIENT_WSGI_READINESS_FIRST_PAUSE": "0.5"}
    ) as running:
        assert running.full_strength()
        running.fail_next("import", 1000)
        running.respawn(1)
        running.server.wait_for_log(r"attempt 3", 20)
        assert ask(running) == {"200": REQUESTS}
        first, second, third = pauses(running)[:3]
        assert first <= 0.5 < second <= 1.0 < third <= 2.0


@pytest.mark.parametrize(
    ("number", "more"),
    [(signal.SIGINT, {}), (signal.SIGTERM, {"die_on_term": True}), (signal.SIGINT, {"threads": 2})],
)
def test_a_stop_cuts_the_pause_short(number, more):
    with instance(options(**more), always="import", env=LONG_PAUSE) as running:
        pausing(running)
        assert running.server.stop(number, patience=20.0) < 5.0


def test_a_reload_cuts_the_pause_short():
    with instance(options(), fail_first="import", loads=4, env=LONG_PAUSE) as running:
        pausing(running)
        begin = time.monotonic()
        running.server.signal(signal.SIGHUP)
        assert running.full_strength()
        assert time.monotonic() - begin < 15.0


def test_the_master_sleeps_while_workers_pause():
    with instance(options(), always="import", env=LONG_PAUSE) as running:
        pausing(running)
        before = procfs.cpu_seconds(running.server.pid)
        time.sleep(2.0)
        assert procfs.cpu_seconds(running.server.pid) - before < 0.2


@pytest.mark.parametrize("kind", ["import", "exit"])
def test_a_urlconf_that_cannot_be_imported_is_a_load_that_failed(kind):
    with instance(options(module="readiness_django_app"), fail_first=kind) as running:
        assert ask(running) == {"200": REQUESTS}
        assert running.full_strength(), running.server.error("did not come back")
        assert len(running.events("has no app (ROOT_URLCONF 'readiness_django_urls'")) == 2


def test_in_report_mode_nothing_is_done_but_it_is_said():
    with instance(
        options(), fail_first="import", env={"RESILIENT_WSGI_READINESS_MODE": "report"}
    ) as running:
        running.server.wait_for_log("has no app", count=2)
        assert ask(running).get("500", 0) > 0


def test_the_app_that_the_environment_names_is_loaded_once_before_the_fork():
    with instance(options(LOADED_BY_US, lazy=False)) as running:
        assert ask(running) == {"200": REQUESTS}
        assert len(running.events("WSGI app 0")) == 1
