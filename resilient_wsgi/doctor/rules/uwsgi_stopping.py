"""Rules about stopping and reloading: what a signal does, and how long a worker may take."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .examples import PREFORK, also, without
from .uwsgi_facts import brief, in_container, is_before, whole
from .versions import version_of


@rule(
    "U10",
    Severity.ERROR,
    "SIGTERM reloads uWSGI instead of stopping it",
    why=(
        "By default SIGTERM makes uWSGI kill its workers, with their requests, and start again. "
        "Docker, Kubernetes and systemd stop a service by SIGTERM and send SIGKILL when it is not "
        "gone 10 to 90 s later: each deployment takes that long, and ends all requests twice."
    ),
    bad={
        "uwsgi.ini": without("die-on-term"),
        "Dockerfile": 'FROM python:3.12\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    good={
        "uwsgi.ini": PREFORK,
        "Dockerfile": 'FROM python:3.12\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    fix="Set die-on-term = true.",
    sources=(
        "uWSGI 2.0.31, core/master.c: uwsgi_master_manage_signals()",
        "unbit/uwsgi#515",
        "netbox-community/netbox#16043",
    ),
)
def term_reloads(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations without die-on-term, and without a hook for SIGTERM; an error only
    where a container starts it whose stop signal is not another one.
    """
    for config in whole(subject):
        hooked = any("unix_signal:15" in option.value for option in config.options)
        if config.off("die-on-term") and not hooked and not _stopped_otherwise(subject):
            yield at(
                config.last("die-on-term") or config,
                "die-on-term is not set: SIGTERM reloads",
                severity=Severity.ERROR if in_container(subject, config) else Severity.WARNING,
            )


def _stopped_otherwise(subject: Subject) -> bool:
    """Return whether something that was found stops by another signal than SIGTERM."""
    from ..read import runners

    found = (each.stop_signal for each in runners.of(subject) if each.stop_signal)
    return any(fact.value.upper() not in {"SIGTERM", "TERM", "15"} for fact in found)


@rule(
    "U12",
    Severity.WARNING,
    "a hook for SIGTERM and die-on-term contradict each other",
    why=(
        "`hook-master-start = unix_signal:15 ...` is set after uWSGI's own signals, so it wins "
        "for SIGTERM. What remains of `die-on-term` is that SIGQUIT reloads instead of stopping."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\ndie-on-term = true\n"
        "hook-master-start = unix_signal:15 gracefully_kill_them_all\n"
    },
    good={"uwsgi.ini": "[uwsgi]\ndie-on-term = true\n"},
    fix="Remove one of the two.",
    sources=("uWSGI 2.0.31, core/hooks.c: uwsgi_hook_unix_signal()", "core/master.c"),
)
def two_meanings_of_term(subject: Subject) -> Iterator[Evidence]:
    """Find a hook for signal 15 beside die-on-term."""
    for config in subject.uwsgi:
        for option in config.all("hook-master-start"):
            if "unix_signal:15" in option.value and config.on("die-on-term"):
                yield at(option, f"{option.name} = {brief(option)}, with die-on-term = true")


@rule(
    "U13",
    Severity.WARNING,
    "gracefully_kill_them_all waits without a limit",
    why=(
        "The graceful stop waits inside of the master's signal handler until the last request has "
        "ended: no mercy, no harakiri, no stats meanwhile (measured: a request of 14 s ran to its "
        "end although harakiri was 3 s and mercy 3 s). A request that hangs holds the stop up "
        "until SIGKILL comes from outside. Before 2.0.27 it did not wait for requests at all."
    ),
    bad={
        "uwsgi.ini": also(
            "hook-master-start = unix_signal:15 gracefully_kill_them_all",
            text=without("die-on-term"),
        )
    },
    good={"uwsgi.ini": PREFORK},
    fix="Use die-on-term = true, and `resilient-wsgi drain` before the stop; bound the stop from "
    "outside (TimeoutStopSec, terminationGracePeriodSeconds).",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: gracefully_kill_them_all()",
        "unbit/uwsgi#2656",
        "unbit/uwsgi#2722",
    ),
)
def unbounded_stop(subject: Subject) -> Iterator[Evidence]:
    """Find the function as the handler of a signal."""
    old = is_before(version_of(subject, "uwsgi"), (2, 0, 27))
    for config in subject.uwsgi:
        for option in config.options:
            if "gracefully_kill_them_all" in option.value:
                how = "does not wait for requests" if old else "waits without a limit"
                yield at(option, f"{option.name} = {brief(option)}: the stop {how}")


@rule(
    "U39",
    Severity.WARNING,
    "reload-mercy does not apply to workers",
    why=(
        "`reload-mercy` is the time that the Emperor gives its vassals and uWSGI its daemons. The "
        "time that workers get at a reload is `worker-reload-mercy`, 60 s by default."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nreload-mercy = 10\n"},
    good={"uwsgi.ini": "[uwsgi]\nworker-reload-mercy = 40\n"},
    fix="Set worker-reload-mercy instead.",
    sources=("uWSGI 2.0.31, core/daemons.c, core/emperor.c", "unbit/uwsgi#1038"),
)
def mercy_for_nobody(subject: Subject) -> Iterator[Evidence]:
    """Find reload-mercy where neither daemons nor vassals are there to have it."""
    daemons = ("attach-daemon", "attach-daemon2", "smart-attach-daemon", "emperor")
    for config in subject.uwsgi:
        option = config.last("reload-mercy")
        if option and config.lacks("worker-reload-mercy") and config.lacks(*daemons):
            yield at(
                option,
                f"reload-mercy = {brief(option)} does nothing here: worker-reload-mercy is 60 s",
            )


@rule(
    "U64",
    Severity.HINT,
    "exit-on-reload or no-orphans changes what a reload or a dead master means",
    why=(
        "With `exit-on-reload` a reload is a stop: something else has to start uWSGI again. With "
        "`no-orphans` workers are killed in their requests if the master dies."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nexit-on-reload = true\n"},
    good={"uwsgi.ini": "[uwsgi]\ndie-on-term = true\n"},
    fix="Keep it only if a supervisor restarts the service.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: exit-on-reload, no-orphans",),
)
def reload_is_exit(subject: Subject) -> Iterator[Evidence]:
    """Find the two options."""
    for config in subject.uwsgi:
        for name, effect in (
            ("exit-on-reload", "a reload ends the instance"),
            ("no-orphans", "workers are killed in their requests if the master dies"),
        ):
            option = config.last(name)
            if option and config.on(name):
                yield at(option, f"{name} = true: {effect}")


@rule(
    "U73",
    Severity.ERROR,
    "daemonize under a supervisor: it sees the service end at once",
    why=(
        "`daemonize` forks uWSGI into the background. In a container process 1 ends with that, "
        "and the container is stopped, uWSGI with it. systemd takes a service of Type=simple or "
        "notify for ended, and kills or restarts it."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nmodule = app\nsocket = 127.0.0.1:3031\n"
        "daemonize = /var/log/uwsgi.log\n",
        "Dockerfile": 'FROM python:3.12\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    good={
        "uwsgi.ini": "[uwsgi]\nmodule = app\nsocket = 127.0.0.1:3031\n",
        "Dockerfile": 'FROM python:3.12\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    fix="Remove daemonize; log to standard error, or with logto = FILE.",
    sources=(
        "uWSGI 2.0.31, core/utils.c: daemonize()",
        "https://uwsgi-docs.readthedocs.io/en/latest/Systemd.html",
    ),
)
def daemonized_under_supervisor(subject: Subject) -> Iterator[Evidence]:
    """Find daemonize in what a container starts."""
    for config in subject.uwsgi:
        option = config.last("daemonize", "daemonize2")
        if option and in_container(subject, config):
            yield at(
                option,
                f"{option.name} = {brief(option)} in a container: its process 1 ends at once",
            )
