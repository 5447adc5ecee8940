"""Rules about gunicorn: its configuration file and its command line."""

from __future__ import annotations

import difflib
from typing import Iterable, Iterator, List

from ..model import Evidence, Severity, at, rule
from ..read import gunicorn
from ..read.runner import PROCESS
from ..subject import Subject
from .gunicorn_facts import instances
from .uwsgi_facts import mentions_library

HEROKU_IDLE = 90
# settings that only some kinds of workers look at
THREADED, ASYNC = ("gthread",), ("gevent", "eventlet", "gthread", "tornado", "asgi")
_IMAGE = 'FROM python:3.12\nCMD ["gunicorn", "-c", "gunicorn.conf.py", "mysite.wsgi"]\n'


@rule(
    "G01",
    Severity.HINT,
    "keepalive is shorter than the router's idle time: requests fail now and then",
    why=(
        "A router keeps idle connections for the next request: AWS's for 60 s, Heroku's for 90 s, "
        "Google's for 600 s. If gunicorn closes them earlier (after 2 s by default), a request "
        "may be on its way just then: the router answers 502, seldom and without a line in "
        "gunicorn's log. `sync` workers close each connection after its answer and are not "
        "affected."
    ),
    bad={"Procfile": "web: gunicorn --threads 4 mysite.wsgi\n"},
    good={"Procfile": "web: gunicorn --threads 4 --keep-alive 95 mysite.wsgi\n"},
    fix="Set keepalive 5 s above the idle time of what is in front: 65 behind AWS's load balancer, "
    "95 on Heroku.",
    sources=(
        "gunicorn, config.py: Keepalive",
        "https://devcenter.heroku.com/articles/http-routing",
    ),
)
def short_keepalive(subject: Subject) -> Iterator[Evidence]:
    """Find workers that keep connections for less than Heroku's router does, in a Procfile."""
    for each in instances(subject):
        seconds = each.settings.number("keepalive", 2)
        routed = each.runner.kind == PROCESS if each.runner else False
        keeps = each.settings.worker() in ASYNC
        if routed and keeps and seconds is not None and seconds <= HEROKU_IDLE:
            yield at(
                each.settings.last("keepalive") or each.settings,
                f"keepalive = {seconds} s, and Heroku's router keeps connections for "
                f"{HEROKU_IDLE} s",
            )


@rule(
    "G02",
    Severity.WARNING,
    "timeout = 0: a worker that hangs is never replaced",
    why=(
        "`timeout` is the time after which the master kills a worker that gives no sign of life. "
        "0 disables it: a `sync` worker whose request hangs, or any worker whose main thread "
        "does, is lost until a restart."
    ),
    bad={"gunicorn.conf.py": "workers = 4\ntimeout = 0\n"},
    good={"gunicorn.conf.py": "workers = 4\ntimeout = 30\n"},
    fix="Set timeout = 30, and give requests a deadline below it (REQUEST.TIMEOUT).",
    sources=("gunicorn, config.py: Timeout", "gunicorn, arbiter.py: murder_workers()"),
)
def no_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find timeout = 0."""
    for each in instances(subject):
        setting = each.settings.last("timeout")
        if setting and each.settings.number("timeout") == 0:
            yield at(setting, "timeout = 0: a worker that hangs is never replaced")


@rule(
    "G03",
    Severity.HINT,
    "timeout is no limit for requests in threads",
    why=(
        "A worker of several threads shows that it lives from its main thread, whatever its "
        "requests do. A request that hangs in a thread is never ended; when all threads hang, the "
        "worker still looks alive and takes no more requests."
    ),
    bad={"gunicorn.conf.py": "worker_class = 'gthread'\nthreads = 8\ntimeout = 30\n"},
    good={"gunicorn.conf.py": "worker_class = 'sync'\nworkers = 8\ntimeout = 30\n"},
    fix="Give requests a deadline of their own: resilient_wsgi.wrap() with REQUEST.TIMEOUT.",
    sources=("gunicorn, workers/gthread.py: run()", "benoitc/gunicorn#2086"),
)
def threads_without_limit(subject: Subject) -> Iterator[Evidence]:
    """Find workers of threads where the sources do not mention the library."""
    for each in instances(subject):
        if each.settings.worker() in THREADED and not mentions_library(subject):
            threads = each.settings.number("threads", 1)
            yield at(
                each.settings.last("threads")
                or each.settings.last("worker_class")
                or each.settings,
                f"threads = {threads or 'unknown'}: timeout = "
                f"{each.settings.value('timeout', 30)} does not end a request in a thread",
            )


@rule(
    "G04",
    Severity.HINT,
    "worker_tmp_dir is not in memory: a slow disk looks like a worker that hangs",
    why=(
        "Workers show that they live by touching a file in `worker_tmp_dir`, /tmp by default. In "
        "a container that is the overlay file system on the host's disk: if the disk stalls, the "
        "touch blocks, and the master kills workers that are well."
    ),
    bad={"gunicorn.conf.py": "workers = 4\n", "Dockerfile": _IMAGE},
    good={
        "gunicorn.conf.py": "workers = 4\nworker_tmp_dir = '/dev/shm'\n",
        "Dockerfile": _IMAGE,
    },
    fix="Set worker_tmp_dir = '/dev/shm'.",
    sources=("https://docs.gunicorn.org/en/stable/faq.html", "gunicorn, workers/workertmp.py"),
)
def heartbeat_on_disk(subject: Subject) -> Iterator[Evidence]:
    """Find instances in containers that do not set it."""
    for each in instances(subject):
        if each.in_container and each.settings.last("worker_tmp_dir") is None:
            yield at(
                each.settings, "worker_tmp_dir is not set: workers show that they live on disk"
            )


@rule(
    "G05",
    Severity.WARNING,
    "max_requests without max_requests_jitter: workers are replaced at the same time",
    why=(
        "Workers share the requests about evenly, so they reach `max_requests` within a short "
        "time of each other. While they all load the app, nobody serves. `max_requests_jitter` "
        "adds a random number for each worker."
    ),
    bad={"gunicorn.conf.py": "workers = 4\nmax_requests = 1000\n"},
    good={"gunicorn.conf.py": "workers = 4\nmax_requests = 1000\nmax_requests_jitter = 100\n"},
    fix="Set max_requests_jitter to a tenth of max_requests.",
    sources=("gunicorn, config.py: MaxRequestsJitter",),
)
def no_jitter(subject: Subject) -> Iterator[Evidence]:
    """Find max_requests of several workers without jitter."""
    for each in instances(subject):
        setting, workers = each.settings.last("max_requests"), each.settings.number("workers", 1)
        if (
            setting
            and each.settings.number("max_requests")
            and each.settings.number("max_requests_jitter", 0) == 0
            and workers != 1
        ):
            yield at(
                setting,
                f"max_requests = {setting.value} for {workers or 'all'} workers, and "
                "max_requests_jitter = 0",
            )


@rule(
    "G06",
    Severity.WARNING,
    "graceful_timeout is not below the time after which gunicorn is killed",
    why=(
        "At a stop gunicorn lets requests end for `graceful_timeout` seconds (30 by default), "
        "then it kills the workers. If systemd, Docker or Kubernetes sends SIGKILL earlier, or in "
        "the same second, requests are cut off that would have been finished, and nothing is "
        "logged."
    ),
    bad={
        "gunicorn.conf.py": "workers = 4\ngraceful_timeout = 60\n",
        "app.service": "[Unit]\nDescription=app\n\n[Service]\n"
        "ExecStart=/srv/venv/bin/gunicorn -c gunicorn.conf.py mysite.wsgi\nTimeoutStopSec=30\n",
    },
    good={
        "gunicorn.conf.py": "workers = 4\ngraceful_timeout = 25\n",
        "app.service": "[Unit]\nDescription=app\n\n[Service]\n"
        "ExecStart=/srv/venv/bin/gunicorn -c gunicorn.conf.py mysite.wsgi\nTimeoutStopSec=30\n"
        "KillMode=mixed\nRestart=on-failure\n",
    },
    fix="Set graceful_timeout at least 5 s below TimeoutStopSec or terminationGracePeriodSeconds.",
    sources=("gunicorn, arbiter.py: stop()", "systemd.service(5): TimeoutStopSec"),
)
def killed_while_stopping(subject: Subject) -> Iterator[Evidence]:
    """Compare graceful_timeout with the grace of what stops the instance."""
    for each in instances(subject):
        seconds = each.settings.number("graceful_timeout", 30)
        grace = each.runner.stop_grace if each.runner else None
        if grace is None or seconds is None or seconds < grace.value:
            continue
        if grace.given or each.settings.last("graceful_timeout"):
            yield at(
                each.settings.last("graceful_timeout") or grace,
                f"graceful_timeout = {seconds} s, and {each.runner} is killed after "
                f"{grace.value:g} s",
            )


@rule(
    "G07",
    Severity.WARNING,
    "workers follow from the host's CPUs, not from the container's",
    why=(
        "`multiprocessing.cpu_count()` counts the CPUs of the host. In a container that may use "
        "two of 80 CPUs, 2 x 80 + 1 workers start and run out of memory."
    ),
    bad={
        "gunicorn.conf.py": "import multiprocessing\n\n"
        "workers = multiprocessing.cpu_count() * 2 + 1\nworker_tmp_dir = '/dev/shm'\n",
        "Dockerfile": _IMAGE,
    },
    good={
        "gunicorn.conf.py": "import os\n\nworkers = int(os.environ.get('WORKERS', 4))\n"
        "worker_tmp_dir = '/dev/shm'\n",
        "Dockerfile": _IMAGE,
    },
    fix="Set a number that the memory of the container allows, or take it from the environment.",
    sources=("thatmattlove/hyperglass#356",),
)
def workers_from_cpus(subject: Subject) -> Iterator[Evidence]:
    """Find cpu_count() in workers or threads of an instance in a container."""
    for each in instances(subject):
        for name in ("workers", "threads"):
            setting = each.settings.last(name)
            if setting and each.in_container and "cpu_count" in setting.expression:
                yield at(setting, f"{name} = {setting.expression} counts the CPUs of the host")


@rule(
    "G11",
    Severity.WARNING,
    "backlog is above net.core.somaxconn, and the kernel takes the smaller",
    why=(
        "The kernel limits the listen queue to `net.core.somaxconn` of the network namespace, and "
        "gunicorn does not notice: bursts above that are refused or delayed."
    ),
    bad={
        "gunicorn.conf.py": "workers = 4\nbacklog = 4096\n",
        "machine": "net.core.somaxconn = 128",
    },
    good={
        "gunicorn.conf.py": "workers = 4\nbacklog = 4096\n",
        "machine": "net.core.somaxconn = 4096",
    },
    fix="Raise net.core.somaxconn in the namespace that gunicorn runs in.",
    sources=("listen(2)", "gunicorn, config.py: Backlog (2048)"),
)
def backlog_above_somaxconn(subject: Subject) -> Iterator[Evidence]:
    """Compare a backlog that is set with the limit of this namespace."""
    limit = subject.machine.number("net.core.somaxconn")
    for each in instances(subject):
        setting, asked = each.settings.last("backlog"), each.settings.number("backlog")
        if setting and asked and limit is not None and asked > limit:
            yield at(
                setting,
                f"backlog = {asked}, net.core.somaxconn in this namespace = {limit}: the queue "
                f"holds {limit}",
            )


@rule(
    "G14",
    Severity.WARNING,
    "reload restarts workers when a file changes",
    why=(
        "`reload` is for development. A deployment that copies files has workers started again "
        "several times, with half of the new code; with `preload_app` it does not even load the "
        "new code."
    ),
    bad={"gunicorn.conf.py": "workers = 4\nreload = True\n"},
    good={"gunicorn.conf.py": "workers = 4\nreload = False\n"},
    fix="Remove it in production; send SIGHUP when a deployment is done.",
    sources=("gunicorn, config.py: Reload",),
)
def reload_in_production(subject: Subject) -> Iterator[Evidence]:
    """Find reload = True; a compose file is often for development, so it is a hint there."""
    for each in instances(subject):
        setting = each.settings.last("reload")
        if setting and each.settings.value("reload") is True:
            yield at(setting, "reload = True: changed files restart workers")


@rule(
    "G15",
    Severity.ERROR,
    "daemon under a supervisor: it sees the service end at once",
    why=(
        "With `daemon` gunicorn forks into the background. In a container process 1 ends with "
        "that, and the container is stopped, gunicorn with it."
    ),
    bad={"gunicorn.conf.py": "workers = 4\ndaemon = True\n", "Dockerfile": _IMAGE},
    good={"gunicorn.conf.py": "workers = 4\nworker_tmp_dir = '/dev/shm'\n", "Dockerfile": _IMAGE},
    fix="Remove daemon.",
    sources=("gunicorn, util.py: daemonize()",),
)
def daemon_in_container(subject: Subject) -> Iterator[Evidence]:
    """Find daemon = True in a container."""
    for each in instances(subject):
        setting = each.settings.last("daemon")
        if setting and each.in_container and each.settings.value("daemon") is True:
            yield at(setting, f"daemon = True in {each.runner}: its process 1 ends at once")


@rule(
    "G16",
    Severity.WARNING,
    "gunicorn has no such setting",
    why=(
        "gunicorn ignores what it does not know in its configuration file without a word: `worker "
        "= 4` starts one worker, `time_out = 120` leaves the timeout at 30 s."
    ),
    bad={"gunicorn.conf.py": "worker = 4\nbind = '0.0.0.0:8000'\n"},
    good={"gunicorn.conf.py": "workers = 4\nbind = '0.0.0.0:8000'\n"},
    fix="Correct the name.",
    sources=("gunicorn, app/base.py: load_config_from_module_name_or_filename()",),
)
def unknown_setting(subject: Subject) -> Iterator[Evidence]:
    """Find names that are nearly those of a setting that is not set itself."""
    names = gunicorn.names()
    for file in subject.gunicorn:
        for setting in file.settings:
            if setting.name.startswith("_"):
                continue
            near = _near(setting.name.lower(), names)
            if near and file.last(near[0]) is None:
                yield at(
                    setting, f"gunicorn has no setting {setting.name}; did you mean {near[0]}?"
                )


def _near(name: str, names: Iterable[str]) -> List[str]:
    """Return the name that was probably meant: `preload` is `preload_app`, and not `reload`."""
    longer = [each for each in names if each.startswith(f"{name}_")]
    return longer if len(longer) == 1 else difflib.get_close_matches(name, names, 1, 0.85)


@rule(
    "G17",
    Severity.HINT,
    "a setting that this kind of worker does not look at",
    why=(
        "`worker_connections` limits the connections of `gevent`, `eventlet` and `gthread` "
        "workers; `threads` is for `gthread` alone. Other workers ignore them."
    ),
    bad={"gunicorn.conf.py": "worker_class = 'gevent'\nthreads = 4\n"},
    good={"gunicorn.conf.py": "worker_class = 'gthread'\nthreads = 4\n"},
    fix="Remove it, or choose the worker that it is for.",
    sources=("gunicorn, config.py: Threads, WorkerConnections",),
)
def ignored_setting(subject: Subject) -> Iterator[Evidence]:
    """Find threads and worker_connections beside workers that ignore them."""
    for each in instances(subject):
        kind = each.settings.worker()
        threads = each.settings.last("threads")
        connections = each.settings.last("worker_connections")
        if threads and kind in {"gevent", "eventlet", "tornado"}:
            yield at(threads, f"threads = {threads.value}, and {kind} workers have no threads")
        if connections and kind == "sync":
            yield at(connections, "worker_connections is set, and sync workers serve one at a time")
