"""Rules about a uwsgi.ini and the app's sources together; sources are searched, never run."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..read.python import calls
from ..subject import Subject
from .uwsgi_facts import whole
from .versions import pinned

_TIMERS = (
    *(f"uwsgidecorators.{name}" for name in ("timer", "rbtimer", "cron", "signal")),
    *(f"uwsgi.{name}" for name in ("add_timer", "add_rb_timer", "add_cron", "register_signal")),
)
_STOP = ("uwsgi.stop",)
_METRICS = tuple(f"uwsgi.metric_{name}" for name in ("inc", "dec", "mul", "div", "set", "get"))
_TIMER_CODE = "from uwsgidecorators import timer\n\n\n@timer(60)\ndef refresh(signal):\n    pass\n"


@rule(
    "U11",
    Severity.ERROR,
    "uwsgi.stop() reloads if die-on-term is set",
    why=(
        "`uwsgi.stop()` sends SIGQUIT to the master. `die-on-term` exchanges the meanings of "
        "SIGTERM and SIGQUIT, so SIGQUIT is a brutal reload then: what should end the instance "
        "ends its requests and starts it again (measured)."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\ndie-on-term = true\n",
        "views.py": "import uwsgi\n\nuwsgi.stop()\n",
    },
    good={
        "uwsgi.ini": "[uwsgi]\ndie-on-term = true\n",
        "views.py": "import os, signal, uwsgi\n\nos.kill(uwsgi.masterpid(), signal.SIGINT)\n",
    },
    fix="Send SIGINT to uwsgi.masterpid() instead.",
    sources=("uWSGI 2.0.31, plugins/python/uwsgi_pymodule.c: py_uwsgi_stop()", "core/master.c"),
)
def stop_reloads(subject: Subject) -> Iterator[Evidence]:
    """Find calls of uwsgi.stop() in the sources beside die-on-term."""
    if any(config.on("die-on-term") for config in subject.uwsgi):
        for location in calls(subject, _STOP):
            yield at(location, "uwsgi.stop() sends SIGQUIT, which die-on-term makes a reload")


@rule(
    "U56",
    Severity.ERROR,
    "lazy-apps with timers of the app: after 64 starts of workers it fails to load",
    why=(
        "uWSGI has room for 64 timers, which are never freed. With `lazy-apps` each worker that "
        "starts registers those of the app again; when the table is full, the app cannot be "
        "imported, and the worker answers 500. Measured: 34 workers reloaded twice, then 4 of "
        "them without an app."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlazy-apps = true\n", "tasks.py": _TIMER_CODE},
    good={"uwsgi.ini": "[uwsgi]\nlazy-apps = false\n", "tasks.py": _TIMER_CODE},
    fix="Use resilient_wsgi.threads.every(seconds), or register timers in a module of "
    "shared-import.",
    sources=(
        "uWSGI 2.0.31, core/signal.c: uwsgi_add_timer()",
        "unbit/uwsgi#782",
        "hove-io/navitia#2618",
    ),
)
def timers_run_out(subject: Subject) -> Iterator[Evidence]:
    """Find registrations of timers in the sources where each worker loads the app."""
    if any(config.on("lazy-apps") for config in subject.uwsgi):
        for location in calls(subject, _TIMERS):
            yield at(location, "each start of a worker registers a timer, and none is freed")


@rule(
    "U76",
    Severity.WARNING,
    "uwsgi.metric_* in requests: a worker that is killed in it stops the master",
    why=(
        "uWSGI's metrics are guarded by one lock in shared memory that cannot be repaired. If a "
        "worker is killed while it holds it (harakiri, out of memory), every other worker waits "
        "for ever at its next metric, and the master does when the stats server is asked."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nenable-metrics = true\n",
        "views.py": "import uwsgi\n\nuwsgi.metric_inc('requests')\n",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\n",
        "views.py": "import uwsgi\n\nprint(uwsgi.total_requests())\n",
    },
    fix="Count in the app (prometheus_client), and remove uwsgi.metric_*.",
    sources=(
        "uWSGI 2.0.31, core/lock.c: uwsgi_rwlock_fast()",
        "core/metrics.c: uwsgi_metric_inc()",
    ),
)
def metrics_lock(subject: Subject) -> Iterator[Evidence]:
    """Find metrics in the sources where workers are killed."""
    if any(config.number("harakiri") and config.on("enable-metrics") for config in subject.uwsgi):
        for location in calls(subject, _METRICS):
            yield at(location, "a worker that is killed here keeps the lock of all metrics")


@rule(
    "U54",
    Severity.ERROR,
    "binary-path is missing under pyuwsgi in a virtual environment: a reload ends the instance",
    why=(
        "At a reload uWSGI starts itself again. `pyuwsgi` is a Python module, and what it starts "
        "is the interpreter that the virtual environment links to, which does not find the "
        "module: SIGHUP ends the service with `ModuleNotFoundError: pyuwsgi` (measured)."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nmodule = app\nsocket = 127.0.0.1:3031\nvirtualenv = /srv/venv\n",
        "requirements.txt": "pyuwsgi==2.0.30.post1\n",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nmodule = app\nsocket = 127.0.0.1:3031\nvirtualenv = /srv/venv\n"
        "binary-path = /srv/venv/bin/python\n",
        "requirements.txt": "pyuwsgi==2.0.30.post1\n",
    },
    fix="Set binary-path = /srv/venv/bin/python, or install uwsgi instead of pyuwsgi.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_reload()", "unbit/uwsgi#2478"),
)
def pyuwsgi_reload(subject: Subject) -> Iterator[Evidence]:
    """Find pyuwsgi in the requirements; a hint if there is no virtual environment in the file."""
    if not pinned(subject, "pyuwsgi") or pinned(subject, "uwsgi"):
        return
    for config in whole(subject):
        if config.lacks("binary-path"):
            yield at(
                config,
                "pyuwsgi without binary-path: a reload starts the wrong interpreter",
                severity=Severity.ERROR if config.has("virtualenv") else Severity.HINT,
            )
