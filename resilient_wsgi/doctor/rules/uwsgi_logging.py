"""Rules about what uWSGI logs, and what logging does to requests."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .uwsgi_facts import brief

DISCONNECTS = ("ignore-sigpipe", "ignore-write-errors", "disable-write-exception")
LOG_MASTER_BUFFER = 8192


@rule(
    "U03",
    Severity.WARNING,
    "log-slow = true is 0: no slow request is logged",
    why=(
        "`log-slow` and its relatives take a number: milliseconds, or bytes. uWSGI reads the "
        "digits that the value starts with, and `true` has none: 0, which is off. The mistake is "
        "part of a widely copied configuration."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlog-slow = true\n"},
    good={"uwsgi.ini": "[uwsgi]\nlog-slow = 1000\n"},
    fix="Set a number: log-slow = 1000 logs requests of more than a second.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_set_int()",),
)
def log_slow(subject: Subject) -> Iterator[Evidence]:
    """Find log-slow and log-big with a value that uWSGI reads as 0."""
    for config in subject.uwsgi:
        for name in ("log-slow", "log-big"):
            option = config.last(name)
            if option and option.value and config.number(name) == 0 and not option.value.isdigit():
                yield at(option, f"{name} = {brief(option)} is 0: nothing is logged")


@rule(
    "U51",
    Severity.WARNING,
    "log-master cuts lines at 8192 bytes, and writing a log line may raise",
    why=(
        "With `log-master`, which other logging options turn on, the standard error of workers is "
        "a non-blocking socket to the master. A line above `log-master-bufsize` (8192 bytes) is "
        "cut; one of 250 KB raises OSError 90; a burst that the master cannot follow raises "
        "BlockingIOError in the app's `print` or `logging` (all measured). A traceback with data "
        "in it is long enough."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlog-master = true\n"},
    good={"uwsgi.ini": "[uwsgi]\nlogto = /var/log/app.log\n"},
    fix="Remove it and let systemd or the container take the log, or set "
    "log-master-bufsize = 65536.",
    sources=(
        "uWSGI 2.0.31, core/logging.c: create_logpipe()",
        "uWSGI 2.0.31, core/config.c: UWSGI_OPT_LOG_MASTER",
        "unbit/uwsgi#2622",
        "unbit/uwsgi#1265",
    ),
)
def log_master(subject: Subject) -> Iterator[Evidence]:
    """Find the first option that turns on the log master, with a small buffer."""
    for config in subject.uwsgi:
        size = config.number("log-master-bufsize", LOG_MASTER_BUFFER)
        direct = config.all("log-master") if config.on("log-master") else []
        implied = [each for each in config.turned_on_by("log_master") if each.name != "log-master"]
        found = [each for each in (*direct, *implied) if each.certain]
        if found and size is not None and size <= LOG_MASTER_BUFFER:
            name = found[0].name
            how = "" if name == "log-master" else " turns log-master on, which"
            yield at(found[0], f"{name}{how} cuts lines at {size} bytes and may raise in the app")


@rule(
    "U63",
    Severity.HINT,
    "only some of the three options about clients that hang up are set",
    why=(
        "When a client hangs up while its answer is written, uWSGI logs a SIGPIPE and a write "
        "error and raises an OSError in the app. Three options silence these, each its own; with "
        "one or two of them the rest is still there."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nignore-sigpipe = true\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nignore-sigpipe = true\nignore-write-errors = true\n"
        "disable-write-exception = true\n"
    },
    fix="Set all of ignore-sigpipe, ignore-write-errors and disable-write-exception, or none.",
    sources=("uWSGI 2.0.31, core/writer.c, core/uwsgi.c: warn_pipe()", "unbit/uwsgi#2606"),
)
def half_silenced(subject: Subject) -> Iterator[Evidence]:
    """Find one or two of the three options, where the rest is certainly off."""
    for config in subject.uwsgi:
        there = [option for name in DISCONNECTS for option in config.all(name) if config.on(name)]
        missing = [name for name in DISCONNECTS if config.off(name)]
        if there and missing:
            yield at(there[0], f"{there[0].name} without {' and '.join(missing)}")


@rule(
    "U87",
    Severity.HINT,
    "disable-logging hides requests that fail, too",
    why=(
        "`disable-logging` silences the request log. With `log-4xx`, `log-5xx` and `log-slow` "
        "uWSGI still logs what failed or was slow: with it and nothing else, a burst of 500 "
        "leaves no line."
    ),
    bad={"uwsgi.ini": "[uwsgi]\ndisable-logging = true\n"},
    good={"uwsgi.ini": "[uwsgi]\ndisable-logging = true\nlog-4xx = true\nlog-5xx = true\n"},
    fix="Add log-5xx = true and log-slow = 1000.",
    sources=("uWSGI 2.0.31, core/logging.c: log_request()",),
)
def no_failures_logged(subject: Subject) -> Iterator[Evidence]:
    """Find disable-logging without any option that logs failed or slow requests."""
    for config in subject.uwsgi:
        option = config.last("disable-logging")
        if option and config.on("disable-logging") and config.lacks("log-5xx", "log-slow"):
            yield at(option, "disable-logging without log-5xx or log-slow: failures leave no line")
