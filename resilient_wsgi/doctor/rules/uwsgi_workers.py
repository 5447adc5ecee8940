"""Rules about workers: who starts them again, how many there are, when they are replaced."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .examples import PREFORK, without
from .uwsgi_facts import brief, imports_library, in_container, is_before, many, whole
from .versions import shown, version_of

MIN_LIFETIME = 10  # of min-worker-lifetime
LIMITS = (("reload-on-rss", Severity.WARNING), ("evil-reload-on-rss", Severity.ERROR))
SMALLEST_MEGABYTES = 16  # an empty Python interpreter in uWSGI has about that


@rule(
    "U07",
    Severity.ERROR,
    "master is missing: a worker that dies is not started again",
    why=(
        "Without a master process nobody starts a worker again that crashed, ran out of memory or "
        "reached `max-requests`, and there is no reload. `harakiri` becomes an alarm that kills "
        "the only process there is. Some options turn the master on by themselves (`stats`, "
        "`touch-reload`, `cheaper`, ...); nothing else does."
    ),
    bad={"uwsgi.ini": without("master")},
    good={"uwsgi.ini": PREFORK},
    fix="Set master = true.",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi_start()",
        "https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html",
    ),
)
def no_master(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations that certainly run without a master."""
    for config in whole(subject):
        if config.runs_master() is False:
            workers, harakiri = many(config, "processes"), config.number("harakiri")
            yield at(
                config.last("master") or config,
                f"there is no master, and processes = {workers}: a worker that dies stays dead",
                severity=Severity.ERROR if workers > 1 or harakiri else Severity.WARNING,
            )


@rule(
    "U14",
    Severity.WARNING,
    "max-worker-lifetime has no mercy: a worker that hangs at its exit is lost",
    why=(
        "At the end of its lifetime a worker stops accepting and exits. uWSGI gives that exit no "
        "time limit, as it does at a reload. If a background thread or a native library holds the "
        "exit up, the worker neither serves nor ends: measured, it was still there after 13 s "
        "with a mercy of 3 s, and would have been for ever. Lifetimes end one after the other "
        "until no worker is left."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nmax-worker-lifetime = 3600\nmax-worker-lifetime-delta = 60\n"},
    good={"uwsgi.ini": "[uwsgi]\nmax-requests = 10000\n"},
    fix="Use max-requests, whose exit is bounded by worker-reload-mercy, or import the library, "
    "which bounds every exit: shared-import = resilient_wsgi.uwsgi.",
    sources=(
        "uWSGI 2.0.31, core/master_checks.c: no uwsgi_curse() at the end",
        "unbit/uwsgi#1760",
        "unbit/uwsgi#2320",
    ),
)
def lifetime_without_mercy(subject: Subject) -> Iterator[Evidence]:
    """Find lifetimes, unless the library bounds the exit."""
    for config in subject.uwsgi:
        lifetime = config.last("max-worker-lifetime")
        if lifetime and config.number("max-worker-lifetime") and not imports_library(config):
            yield at(
                lifetime,
                f"max-worker-lifetime = {brief(lifetime)}: a worker whose exit hangs then is never "
                "killed and never replaced",
            )


@rule(
    "U15",
    Severity.HINT,
    "max-requests without max-requests-delta: workers are replaced at the same time",
    why=(
        "Workers share the requests about evenly, so they reach `max-requests` within a short "
        "time of each other and are started again together. While they load the app, fewer serve. "
        "`max-requests-delta` (since 2.0.29) adds that many requests for each worker number."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nprocesses = 8\nmax-requests = 5000\n",
        "machine": "uwsgi = 2.0.31",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nprocesses = 8\nmax-requests = 5000\nmax-requests-delta = 500\n",
        "machine": "uwsgi = 2.0.31",
    },
    fix="Set max-requests-delta to a tenth of max-requests.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: max-requests-delta", "unbit/uwsgi#648"),
)
def requests_without_delta(subject: Subject) -> Iterator[Evidence]:
    """Find max-requests of several workers without a delta, where the version has it."""
    if is_before(version_of(subject, "uwsgi"), (2, 0, 29)):
        return
    for config in subject.uwsgi:
        limit, workers = config.last("max-requests"), many(config, "processes")
        if (
            limit
            and config.number("max-requests")
            and workers > 1
            and config.lacks("max-requests-delta")
        ):
            yield at(
                limit,
                f"max-requests = {brief(limit)} for all {workers} workers: they are replaced at "
                "about the same time",
            )


@rule(
    "U06",
    Severity.ERROR,
    "max-requests-delta does not exist before uWSGI 2.0.29",
    why=(
        "An older uWSGI takes the line for a placeholder and ignores it, or refuses to start if "
        "`strict` is set."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nstrict = true\nmax-requests = 5000\nmax-requests-delta = 500\n",
        "machine": "uwsgi = 2.0.28",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nstrict = true\nmax-requests = 5000\nmax-requests-delta = 500\n",
        "machine": "uwsgi = 2.0.31",
    },
    fix="Install uWSGI 2.0.29 or newer, or remove the option.",
    sources=("uWSGI, Changelog of 2.0.29", "unbit/uwsgi#648"),
)
def delta_in_old_version(subject: Subject) -> Iterator[Evidence]:
    """Compare the version of uWSGI with that of the option."""
    version = version_of(subject, "uwsgi")
    for config in subject.uwsgi:
        delta = config.last("max-requests-delta")
        if delta and is_before(version, (2, 0, 29)):
            found = shown(version)
            fails = config.on("strict")
            yield at(
                delta,
                f"max-requests-delta, and uWSGI is {found}: "
                + ("it refuses to start (strict)" if fails else "the option is ignored"),
                severity=Severity.ERROR if fails else Severity.WARNING,
            )


@rule(
    "U16",
    Severity.WARNING,
    "max-worker-lifetime without a delta: workers are replaced at the same time",
    why=(
        "All workers start together, so all lifetimes end in the same second, and nobody serves "
        "while they load the app. `max-worker-lifetime-delta` adds that many seconds for each "
        "worker number."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nprocesses = 4\nmax-worker-lifetime = 3600\n"
        "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n"
    },
    good={
        "uwsgi.ini": "[uwsgi]\nprocesses = 4\nmax-worker-lifetime = 3600\n"
        "max-worker-lifetime-delta = 60\n"
        "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n"
    },
    fix="Set max-worker-lifetime-delta = 60.",
    sources=("uWSGI 2.0.31, core/master_checks.c", "unbit/uwsgi#2020"),
)
def lifetime_without_delta(subject: Subject) -> Iterator[Evidence]:
    """Find lifetimes of several workers without a delta."""
    for config in subject.uwsgi:
        lifetime, workers = config.last("max-worker-lifetime"), many(config, "processes")
        if (
            lifetime
            and config.number("max-worker-lifetime")
            and workers > 1
            and config.lacks("max-worker-lifetime-delta")
        ):
            yield at(
                lifetime,
                f"max-worker-lifetime = {brief(lifetime)} for all {workers} workers: they are "
                "replaced in the same second",
            )


@rule(
    "U17",
    Severity.ERROR,
    "min-worker-lifetime is not below max-worker-lifetime: uWSGI refuses to start",
    why=(
        "uWSGI exits at startup if `min-worker-lifetime` (10 s by default) is as high as "
        "`max-worker-lifetime`, or higher."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nmax-worker-lifetime = 10\n"
        "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n"
    },
    good={
        "uwsgi.ini": "[uwsgi]\nmax-worker-lifetime = 3600\nmax-worker-lifetime-delta = 60\n"
        "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n"
    },
    fix="Raise max-worker-lifetime, or lower min-worker-lifetime.",
    sources=("uWSGI 2.0.31, core/init.c: sanitize_args()",),
)
def lifetimes_crossed(subject: Subject) -> Iterator[Evidence]:
    """Compare the two lifetimes as uWSGI does at startup."""
    for config in subject.uwsgi:
        lifetime, most = config.last("max-worker-lifetime"), config.number("max-worker-lifetime")
        least = config.number("min-worker-lifetime", MIN_LIFETIME)
        if lifetime and most and least is not None and least >= most:
            yield at(
                lifetime,
                f"max-worker-lifetime = {most}, min-worker-lifetime = {least}: uWSGI exits at "
                "startup",
            )


@rule(
    "U47",
    Severity.ERROR,
    "cheaper is not below processes: uWSGI refuses to start",
    why=(
        "`cheaper` is the number of workers that always run, `processes` the most that may. uWSGI "
        'exits at startup with "invalid cheaper value: must be lower than processes".'
    ),
    bad={"uwsgi.ini": "[uwsgi]\nprocesses = 4\ncheaper = 4\n"},
    good={"uwsgi.ini": "[uwsgi]\nprocesses = 4\ncheaper = 2\n"},
    fix="Set cheaper below processes, or remove it.",
    sources=("uWSGI 2.0.31, core/init.c: sanitize_args()",),
)
def cheaper_not_below_processes(subject: Subject) -> Iterator[Evidence]:
    """Compare cheaper with processes as uWSGI does at startup."""
    for config in subject.uwsgi:
        cheaper, least = config.last("cheaper"), config.number("cheaper")
        most = config.number("processes", 1)
        if cheaper and least and most is not None and least >= most:
            yield at(cheaper, f"cheaper = {least}, processes = {most}: uWSGI exits at startup")


@rule(
    "U57",
    Severity.WARNING,
    "evil-reload-on-rss without a lower reload-on-rss kills workers in their requests",
    why=(
        "`evil-reload-on-rss` has the master kill a worker that is above the limit, in the middle "
        "of its requests and without any cleanup. `reload-on-rss` is looked at by the worker "
        "after each request: with a lower limit it gets there first, and the evil one remains for "
        "what grows inside of one request."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nevil-reload-on-rss = 800\n"},
    good={"uwsgi.ini": "[uwsgi]\nreload-on-rss = 500\nevil-reload-on-rss = 800\n"},
    fix="Set reload-on-rss below evil-reload-on-rss.",
    sources=("uWSGI 2.0.31, core/master_checks.c: uwsgi_master_check_workers_deadline()",),
)
def evil_reload_alone(subject: Subject) -> Iterator[Evidence]:
    """Compare evil-reload-on-rss with reload-on-rss."""
    for config in subject.uwsgi:
        evil, most = config.last("evil-reload-on-rss"), config.number("evil-reload-on-rss")
        gentle = config.number("reload-on-rss", 0)
        if evil and most and gentle is not None and not 0 < gentle < most:
            yield at(
                evil,
                f"evil-reload-on-rss = {most}, reload-on-rss = {gentle or 'none'}: workers are "
                "killed in their requests",
            )


@rule(
    "U65",
    Severity.HINT,
    "one worker with one thread: a single slow request stops everything",
    why=(
        "With one worker of one thread there is one request at a time. A health check waits "
        "behind a slow request, and each restart of the worker is an outage."
    ),
    bad={"uwsgi.ini": without("processes")},
    good={"uwsgi.ini": PREFORK},
    fix="Set processes = 2 or more.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: processes (1 by default)",),
)
def single_worker(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations that serve one request at a time."""
    for config in whole(subject):
        one = config.number("processes", 1), config.number("threads", 1)
        if one in {(1, 1), (0, 1), (1, 0)} and config.lacks("gevent", "async", "asyncio"):
            yield at(
                config.last("processes") or config,
                "processes = 1 and threads = 1: one request at a time",
            )


@rule(
    "U68",
    Severity.WARNING,
    "processes follows from the host's CPUs, not from the container's",
    why=(
        "`%k` is the number of CPUs of the host. In a container that may use two of 80 CPUs, "
        "uWSGI starts workers for 80 and runs out of memory."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nprocesses = %k\n",
        "Dockerfile": 'FROM python:3.12\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    good={"uwsgi.ini": "[uwsgi]\nprocesses = 4\n"},
    fix="Set a number that the memory of the container allows, or take it from the environment: "
    "processes = $(WORKERS).",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi.cpus (sysconf(_SC_NPROCESSORS_ONLN))",
        "thatmattlove/hyperglass#356",
    ),
)
def processes_from_cpus(subject: Subject) -> Iterator[Evidence]:
    """Find %k in the number of processes; a warning if it runs in a container."""
    for config in subject.uwsgi:
        option = config.last("processes")
        if option and "%k" in option.raw:
            yield at(
                option,
                f"{option.name} = {option.raw}: %k is the number of CPUs of the host",
                severity=Severity.WARNING if in_container(subject, config) else Severity.HINT,
            )


@rule(
    "U70",
    Severity.ERROR,
    "a limit of memory is below what a worker needs: workers are replaced all the time",
    why=(
        "The limits are in megabytes, and uWSGI ignores a unit behind them: `1G` is 1 MB. A "
        "worker that is above `reload-on-rss` as soon as the app is loaded is replaced at its "
        "first request after 10 s (`min-worker-lifetime`), again and again. One above "
        "`evil-reload-on-rss` is killed in the middle of its requests."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nreload-on-rss = 2\n"},
    good={"uwsgi.ini": "[uwsgi]\nreload-on-rss = 512\n"},
    fix="Set the limit well above the memory of a loaded worker, in megabytes: "
    "reload-on-rss = 512.",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi_opt_set_megabytes()",
        "uWSGI 2.0.31, core/utils.c: uwsgi_close_request()",
        "uWSGI 2.0.31, core/master_checks.c: uwsgi_master_check_workers_deadline()",
    ),
)
def rss_limit_too_small(subject: Subject) -> Iterator[Evidence]:
    """Find limits below what an interpreter needs; an error where that kills requests."""
    for config in subject.uwsgi:
        for name, severity in LIMITS:
            option, limit = config.last(name), config.number(name)
            if option and limit is not None and 0 < limit < SMALLEST_MEGABYTES:
                yield at(
                    option,
                    f"{name} = {brief(option)} is {limit} MB, and an interpreter alone needs about "
                    f"{SMALLEST_MEGABYTES} MB",
                    severity=severity,
                )


@rule(
    "U85",
    Severity.ERROR,
    "cheaper-rss-limit-soft and -hard do not fit together: uWSGI refuses to start",
    why=(
        "uWSGI exits at startup if `cheaper-rss-limit-soft` is set without `memory-report`, or "
        "`cheaper-rss-limit-hard` without a lower soft limit."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nprocesses = 8\ncheaper = 2\ncheaper-rss-limit-soft = 536870912\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nprocesses = 8\ncheaper = 2\ncheaper-rss-limit-soft = 536870912\n"
        "memory-report = true\n"
    },
    fix="Set memory-report = true and the soft limit below the hard one.",
    sources=("uWSGI 2.0.31, core/init.c: sanitize_args()",),
)
def cheaper_memory(subject: Subject) -> Iterator[Evidence]:
    """Compare the options as uWSGI does at startup."""
    for config in subject.uwsgi:
        soft, hard = config.last("cheaper-rss-limit-soft"), config.last("cheaper-rss-limit-hard")
        low = config.number("cheaper-rss-limit-soft", 0)
        high = config.number("cheaper-rss-limit-hard", 0)
        if soft and low and config.off("memory-report"):
            yield at(
                soft,
                f"cheaper-rss-limit-soft = {low} without memory-report: uWSGI exits at startup",
            )
        if hard and high and low is not None and not 0 < low < high:
            yield at(
                hard,
                f"cheaper-rss-limit-hard = {high}, cheaper-rss-limit-soft = {low or 'none'}: uWSGI "
                "exits at startup",
            )


@rule(
    "U86",
    Severity.HINT,
    "cheaper-initial is outside of cheaper and processes and is changed",
    why=(
        "uWSGI starts with at least `cheaper` and at most `processes` workers; a "
        "`cheaper-initial` beyond these is replaced by the nearer of them, with a warning in the "
        "log."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nprocesses = 8\ncheaper = 4\ncheaper-initial = 2\n"},
    good={"uwsgi.ini": "[uwsgi]\nprocesses = 8\ncheaper = 2\ncheaper-initial = 4\n"},
    fix="Set cheaper-initial between cheaper and processes.",
    sources=("uWSGI 2.0.31, core/init.c: sanitize_args()",),
)
def cheaper_initial(subject: Subject) -> Iterator[Evidence]:
    """Compare cheaper-initial with its bounds as uWSGI does at startup."""
    for config in subject.uwsgi:
        initial, first = config.last("cheaper-initial"), config.number("cheaper-initial")
        least, most = config.number("cheaper", 0), config.number("processes", 1)
        if initial and first and least and most and not least <= first <= most:
            yield at(
                initial,
                f"cheaper-initial = {first}, and cheaper = {least}, processes = {most}: uWSGI uses "
                f"{least if first < least else most}",
            )
