"""Rules about options that are for development, and dangerous or slow in production."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .uwsgi_facts import brief, many


@rule(
    "U74",
    Severity.WARNING,
    "py-autoreload reloads the app when a file changes",
    why=(
        "`py-autoreload` has a thread of the first worker look at the files of all modules every "
        "few seconds, and reloads the instance when one has changed: in the middle of a "
        "deployment that copies files, several times, with half of the new code."
    ),
    bad={"uwsgi.ini": "[uwsgi]\npy-autoreload = 1\n"},
    good={"uwsgi.ini": "[uwsgi]\ntouch-reload = /run/app/reload\n"},
    fix="Remove it in production; reload with touch-reload or SIGHUP when the deployment is done.",
    sources=(
        "uWSGI 2.0.31, plugins/python/pyutils.c: uwsgi_python_autoreloader_thread()",
        "https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html",
    ),
)
def autoreload(subject: Subject) -> Iterator[Evidence]:
    """Find the option, unless it is 0 or stands in an if-env."""
    for config in subject.uwsgi:
        option = config.last("py-auto-reload")
        if option and config.number("py-auto-reload"):
            yield at(option, f"{option.name} = {brief(option)}: changed files reload the instance")


@rule(
    "U75",
    Severity.WARNING,
    "catch-exceptions sends tracebacks to clients",
    why=(
        "With `catch-exceptions` uWSGI answers an exception of the app with its traceback, as "
        "text to the client: paths, code, and what exception messages contain. uWSGI's own help "
        'says "use only for testing purposes".'
    ),
    bad={"uwsgi.ini": "[uwsgi]\ncatch-exceptions = true\n"},
    good={"uwsgi.ini": "[uwsgi]\ncatch-exceptions = false\n"},
    fix="Remove it.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: catch-exceptions", "core/exceptions.c"),
)
def tracebacks_to_clients(subject: Subject) -> Iterator[Evidence]:
    """Find the option."""
    for config in subject.uwsgi:
        option = config.last("catch-exceptions")
        if option and config.on("catch-exceptions"):
            yield at(option, "catch-exceptions = true: clients get the tracebacks of the app")


@rule(
    "U81",
    Severity.HINT,
    "fs-reload reloads at any change below a folder",
    why=(
        "`fs-reload` watches a file or a folder and reloads at once when it changes, whatever the "
        "change is: a half-copied deployment, an editor's backup, a compiled file. `touch-reload` "
        "waits for the one file that a deployment touches at its end."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nfs-reload = /srv/app\n"},
    good={"uwsgi.ini": "[uwsgi]\ntouch-reload = /run/app/reload\n"},
    fix="Set touch-reload = FILE, and touch that file when a deployment is done.",
    sources=("uWSGI 2.0.31, core/master.c: fs-reload", "unbit/uwsgi#720"),
)
def reload_at_any_change(subject: Subject) -> Iterator[Evidence]:
    """Find fs-reload and fs-brutal-reload."""
    for config in subject.uwsgi:
        for option in config.all("fs-reload", "fs-brutal-reload"):
            yield at(option, f"{option.name} = {brief(option)}: any change there reloads")


@rule(
    "U58",
    Severity.WARNING,
    "the workers run as root",
    why=(
        "`uid = root` keeps all rights in every worker: whoever gets the app to run code has the "
        "host. `uid` and `gid` are applied after the sockets are bound, so nothing else needs "
        "root."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nuid = root\ngid = root\n"},
    good={"uwsgi.ini": "[uwsgi]\nuid = app\ngid = app\n"},
    fix="Set uid and gid to a user of the app's own.",
    sources=(
        "uWSGI 2.0.31, core/utils.c: uwsgi_as_root()",
        "https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html",
    ),
)
def workers_as_root(subject: Subject) -> Iterator[Evidence]:
    """Find uid = root or 0."""
    for config in subject.uwsgi:
        option = config.last("uid")
        if config.has("emperor-tyrant"):
            continue  # it takes each vassal's user, for which it must be root
        if option and option.value.strip() in {"root", "0"}:
            yield at(option, f"uid = {brief(option)}: every worker has all rights")


@rule(
    "U53",
    Severity.HINT,
    "thunder-lock shares a lock between all workers",
    why=(
        "`thunder-lock` has workers take turns at waiting for connections, by a mutex in shared "
        "memory. If a worker is killed while one of its threads holds it, the next one repairs it "
        'and logs "[deadlock-detector] a process holding a robust mutex died"; where the system '
        "has no robust mutexes (uWSGI logs that at startup) nobody serves any more. With one "
        "thread a worker that is killed in a request does not hold it."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nthunder-lock = true\nharakiri = 30\nthreads = 2\n"},
    good={"uwsgi.ini": "[uwsgi]\nharakiri = 30\n"},
    fix="Remove thunder-lock unless a measurement shows that it helps.",
    sources=(
        "uWSGI 2.0.31, core/lock.c: uwsgi_lock_fast(), EOWNERDEAD",
        "unbit/uwsgi#2461",
        "unbit/uwsgi#1571",
    ),
)
def thunder_lock(subject: Subject) -> Iterator[Evidence]:
    """Find the lock where workers are killed while their threads may hold it."""
    for config in subject.uwsgi:
        option = config.last("thunder-lock")
        kills = config.number("harakiri") or config.has("evil-reload-on-rss", "evil-reload-on-as")
        if option and config.on("thunder-lock") and kills and many(config, "threads") > 1:
            yield at(
                option,
                "thunder-lock with threads, and workers are killed by harakiri: a thread may hold "
                "the lock then",
            )


@rule(
    "U71",
    Severity.HINT,
    "limit-as counts memory that is reserved, not used",
    why=(
        "`limit-as` is a limit of address space. Each thread reserves 8 MB for its stack and the "
        "allocator up to 64 MB, most of which is never used: the app gets MemoryError, or a "
        "library that does not expect one crashes, long before the memory is short."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nlimit-as = 512\n"},
    good={"uwsgi.ini": "[uwsgi]\nreload-on-rss = 512\n"},
    fix="Use reload-on-rss, and a memory limit of systemd or the container.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: limit-as", "unbit/uwsgi#1779"),
)
def address_space(subject: Subject) -> Iterator[Evidence]:
    """Find limit-as."""
    for config in subject.uwsgi:
        option = config.last("limit-as")
        if option and config.number("limit-as"):
            yield at(option, f"limit-as = {brief(option)} MB of address space")
