"""A Celery worker is recognised however it is started, and finishes what its tasks have started."""

from __future__ import annotations

import os
import signal
import sys
import textwrap

import pytest

from bench.threads.processes import QUIET
from lab.processes import Program

pytestmark = pytest.mark.servers

APP = """
    import os, threading, time
    from celery import Celery, signals
    import resilient_wsgi.threads
    from resilient_wsgi import servers

    resilient_wsgi.threads.install()
    HERE = os.path.dirname(os.path.abspath(__file__))
    app = Celery("app", broker="filesystem://")
    app.conf.update(
        broker_transport_options={"data_folder_in": HERE, "data_folder_out": HERE, "control_folder": HERE},
        task_ignore_result=True,
    )

    def note(word):
        os.write(2, f"{word}\\n".encode())

    def deliver():
        time.sleep(1.5)
        note("delivered")

    def forever():
        while True:
            time.sleep(0.05)

    @app.task
    def work():
        note("server " + servers.detect().name)
        threading.Thread(target=deliver, daemon=False).start()
        note("the task is done")

    signals.worker_ready.connect(lambda **_: work.delay(), weak=False)
    threading.Thread(target=forever, name="forever").start()
"""
MAIN = """
    from app import app
    app.worker_main({arguments!r})
"""
ARGUMENTS = ["worker", *QUIET, "--pool=threads"]
STARTS = {
    "module": (sys.executable, "-m", "celery", "-A", "app", *ARGUMENTS),
    "worker_main": (sys.executable, "main.py"),
}


LOOPS = pytest.mark.skipif(
    sys.version_info >= (3, 15), reason="waits for what was started before it was known as a server"
)


@pytest.mark.parametrize("how", ["module", pytest.param("worker_main", marks=LOOPS)])
def test_a_celery_worker_finishes_what_its_tasks_have_started(tmp_path, how):
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    (tmp_path / "main.py").write_text(textwrap.dedent(MAIN.format(arguments=ARGUMENTS)))
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    with Program(STARTS[how], ready="the task is done", env=env, cwd=tmp_path) as worker:
        assert worker.stop(signal.SIGTERM, patience=20) < 15
        log = worker.log()
    assert "server celery" in log
    assert "delivered" in log
    assert "'forever' did not stop" in log
