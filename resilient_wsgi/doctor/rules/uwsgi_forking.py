"""Rules about the fork: what uWSGI, Python and threads make of each other."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .examples import PREFORK, without
from .uwsgi_facts import imports_library, is_before, is_since, many, whole
from .versions import shown, version_of

FORK_HOOKS = (2, 0, 21)


@rule(
    "U30",
    Severity.ERROR,
    "py-call-osafterfork on Python 3.13 or newer: every worker crashes at its start",
    why=(
        "With `py-call-osafterfork` uWSGI calls only the second half of Python's fork protocol. "
        'From 3.13 on Python aborts then ("unlocking a recursive mutex that is not owned"): the '
        "workers crash as fast as the master starts them, with lazy-apps, too. The option is part "
        "of a widely copied configuration."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\npy-call-osafterfork = true\n",
        "machine": "python = 3.13.0\nuwsgi = 2.0.31",
    },
    good={
        "uwsgi.ini": "[uwsgi]\npy-call-uwsgi-fork-hooks = true\n",
        "machine": "python = 3.13.0\nuwsgi = 2.0.31",
    },
    fix="Replace it by py-call-uwsgi-fork-hooks = true.",
    sources=(
        "uWSGI 2.0.31, plugins/python/python_plugin.c: uwsgi_python_post_fork()",
        "unbit/uwsgi#2710",
        "unbit/uwsgi#2692",
    ),
)
def half_a_fork_crashes(subject: Subject) -> Iterator[Evidence]:
    """Find the option where Python is known to be 3.13 or newer."""
    version = version_of(subject, "python")
    if not is_since(version, (3, 13)):
        return
    for config in subject.uwsgi:
        option = config.last("py-call-osafterfork")
        if option and config.on("py-call-osafterfork"):
            yield at(
                option,
                f"py-call-osafterfork on Python {shown(version)}: every worker "
                "crashes at its start",
            )


@rule(
    "U31",
    Severity.WARNING,
    "py-call-osafterfork is half of Python's fork protocol",
    why=(
        "uWSGI calls `PyOS_AfterFork_Child` in the workers without the `PyOS_BeforeFork` that "
        "belongs to it: locks of `logging` and of the import system are released that nobody "
        "holds. On Python 3.13 and newer every worker crashes at its start. "
        "`py-call-uwsgi-fork-hooks` (since 2.0.21) does both."
    ),
    bad={"uwsgi.ini": "[uwsgi]\npy-call-osafterfork = true\n", "machine": "python = 3.12.1"},
    good={"uwsgi.ini": "[uwsgi]\npy-call-uwsgi-fork-hooks = true\n", "machine": "python = 3.12.1"},
    fix="Replace it by py-call-uwsgi-fork-hooks = true.",
    sources=(
        "uWSGI 2.0.31, plugins/python/python_plugin.c: uwsgi_python_post_fork()",
        "unbit/uwsgi#1978",
    ),
)
def half_a_fork(subject: Subject) -> Iterator[Evidence]:
    """Find the option where Python is not known to be newer than 3.12."""
    version = version_of(subject, "python")
    if is_since(version, (3, 13)) or is_before(version, (3, 7)):
        return
    for config in subject.uwsgi:
        option = config.last("py-call-osafterfork")
        if option and config.on("py-call-osafterfork"):
            yield at(
                option,
                "py-call-osafterfork does half of what a fork needs"
                + (
                    f" (Python {shown(version)})"
                    if version
                    else "; on Python 3.13 every worker crashes"
                ),
            )


@rule(
    "U32",
    Severity.WARNING,
    "py-call-uwsgi-fork-hooks is missing: Python is not notified of the fork",
    why=(
        "uWSGI loads the app in the master and forks the workers without telling Python. A thread "
        "that the app started at import does not exist in the workers, but Python lists it as "
        "alive and waits for it at exit; locks that it held stay locked for ever; functions of "
        "`os.register_at_fork` are not called. Measured on 3.9 to 3.13: the option cures all of "
        "them."
    ),
    bad={"uwsgi.ini": without("py-call-uwsgi-fork-hooks"), "machine": "uwsgi = 2.0.31"},
    good={"uwsgi.ini": PREFORK, "machine": "uwsgi = 2.0.31"},
    fix="Set py-call-uwsgi-fork-hooks = true (uWSGI 2.0.21 or newer), or lazy-apps = true.",
    sources=(
        "uWSGI 2.0.31, plugins/python/python_plugin.c: uwsgi_python_pre_uwsgi_fork()",
        "unbit/uwsgi#2388",
        "unbit/uwsgi#1149",
    ),
)
def no_fork_hooks(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations that load the app before the fork without the hooks."""
    version = version_of(subject, "uwsgi")
    if is_before(version, FORK_HOOKS):
        return
    for config in whole(subject):
        if (
            config.runs_master()
            and config.off("lazy-apps")
            and config.off("lazy")
            and config.off("py-call-uwsgi-fork-hooks")
            and config.lacks("py-call-osafterfork")
        ):
            known = version is not None and not imports_library(config)
            yield at(
                config.last("py-call-uwsgi-fork-hooks") or config,
                "the app is loaded before the fork, and py-call-uwsgi-fork-hooks is not set",
                severity=Severity.WARNING if known else Severity.HINT,
            )


@rule(
    "U37",
    Severity.ERROR,
    "enable-threads is missing before uWSGI 2.0.27: threads of the app do not run",
    why=(
        "Until 2.0.26 uWSGI did not initialize Python's threads unless `enable-threads` or "
        "`threads` was set. Threads that the app starts then get no turn while the worker waits "
        "for a request: schedulers, metric exporters and consumers stand still. Since 2.0.27 "
        "threads are always on."
    ),
    bad={"uwsgi.ini": PREFORK, "machine": "uwsgi = 2.0.26"},
    good={"uwsgi.ini": f"{PREFORK}enable-threads = true\n", "machine": "uwsgi = 2.0.26"},
    fix="Set enable-threads = true, or install uWSGI 2.0.27 or newer.",
    sources=(
        "uWSGI 2.0.31, core/init.c: sanitize_args()",
        "https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html",
    ),
)
def threads_not_enabled(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations without threads, where the version needs the option."""
    version = version_of(subject, "uwsgi")
    if not is_before(version, (2, 0, 27)):
        return
    for config in whole(subject):
        if config.off("enable-threads") and not config.turned_on_by("threads"):
            yield at(
                config.last("enable-threads") or config,
                f"enable-threads is not set, and uWSGI is {shown(version)}: threads "
                "of the app do not run",
            )


@rule(
    "U36",
    Severity.HINT,
    "skip-atexit is not honoured at the reload of an idle worker",
    why=(
        "With threads = 1 an idle worker exits from a signal handler that does not look at "
        "`skip-atexit` (measured): the hang at exit that the option was set against is still "
        "there. `skip-atexit-teardown` is honoured; it skips Python's atexit functions, too."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nskip-atexit = true\n"},
    good={"uwsgi.ini": "[uwsgi]\nskip-atexit-teardown = true\n"},
    fix="Use skip-atexit-teardown, or import the library, which bounds the exit: "
    "shared-import = resilient_wsgi.uwsgi.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: gracefully_kill(), end_me()",),
)
def skip_atexit(subject: Subject) -> Iterator[Evidence]:
    """Find the option with one thread."""
    for config in subject.uwsgi:
        option = config.last("skip-atexit")
        if option and config.on("skip-atexit") and many(config, "threads") == 1:
            yield at(option, "skip-atexit with threads = 1 is not honoured at a reload")


@rule(
    "U38",
    Severity.WARNING,
    "no-threads-wait kills the requests of other threads at a reload",
    why=(
        "At a reload a worker waits until all of its threads have finished their requests. "
        "`no-threads-wait` ends them where they are."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nthreads = 4\nno-threads-wait = true\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nthreads = 4\n"
        "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n"
    },
    fix="Remove no-threads-wait; worker-reload-mercy bounds the wait.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: wait_for_threads()",),
)
def no_threads_wait(subject: Subject) -> Iterator[Evidence]:
    """Find the option."""
    for config in subject.uwsgi:
        option = config.last("no-threads-wait")
        if option and config.on("no-threads-wait"):
            yield at(option, "no-threads-wait: a reload ends running requests of other threads")


@rule(
    "U66",
    Severity.ERROR,
    "Python 3.14 or newer needs uWSGI 2.0.30",
    why=(
        "uWSGI before 2.0.30 uses parts of CPython's interface that 3.14 has removed: it does not "
        "compile, or crashes."
    ),
    bad={"uwsgi.ini": PREFORK, "machine": "python = 3.14.0\nuwsgi = 2.0.28"},
    good={"uwsgi.ini": PREFORK, "machine": "python = 3.14.0\nuwsgi = 2.0.31"},
    fix="Install uWSGI 2.0.30 or newer.",
    sources=("uWSGI, Changelog of 2.0.30",),
)
def python_too_new(subject: Subject) -> Iterator[Evidence]:
    """Compare the versions of Python and uWSGI, if both are known."""
    python, uwsgi = version_of(subject, "python"), version_of(subject, "uwsgi")
    for config in subject.uwsgi:
        if is_since(python, (3, 14)) and is_before(uwsgi, (2, 0, 30)):
            yield at(
                config,
                f"Python is {shown(python)}, uWSGI is {shown(uwsgi)}: they do not fit together",
            )
