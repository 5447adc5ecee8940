"""Rules about harakiri: what ends a request that hangs, and what keeps it from that."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .examples import PREFORK, without
from .uwsgi_facts import brief, imports_library, is_before, is_wrapped, many, only_unix, whole
from .versions import version_of

# what uWSGI installs a handler for in workers, after the app was loaded, or uses itself; SIGHUP (1)
# is left out: it ends the worker in an orderly way
TAKEN = {
    2: "SIGINT",
    10: "SIGUSR1",
    12: "SIGUSR2",
    13: "SIGPIPE",
    15: "SIGTERM",
    20: "SIGTSTP",
    28: "SIGWINCH",
}
ROUTER_TIMEOUT = 60  # of http-timeout


@rule(
    "U18",
    Severity.WARNING,
    "harakiri is missing: a request that hangs keeps its worker for ever",
    why=(
        "uWSGI has no limit for a request unless `harakiri` is set. A request that waits for an "
        "upstream or a lock that never answers keeps its worker until the instance is restarted; "
        "as many of them as there are workers, and the whole service is gone. uWSGI logs nothing "
        "about it."
    ),
    bad={"uwsgi.ini": without("harakiri")},
    good={"uwsgi.ini": PREFORK},
    fix="Set harakiri above the longest request that is legitimate: harakiri = 30.",
    sources=(
        "uWSGI 2.0.31, core/master_checks.c: uwsgi_master_check_workers_deadline()",
        "https://www.bloomberg.com/company/stories/configuring-uwsgi-production-deployment/",
    ),
)
def no_harakiri(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations without harakiri, or with harakiri = 0."""
    for config in whole(subject):
        if config.lacks("harakiri"):
            yield at(config, "harakiri is not set: no request is ever ended")
        elif config.number("harakiri") == 0:
            option = config.all("harakiri")[-1]
            yield at(option, f"harakiri = {brief(option)}, which is off: no request is ever ended")


@rule(
    "U19",
    Severity.WARNING,
    "harakiri with several threads: any request that ends disarms it",
    why=(
        "In all releases of uWSGI 2.0 a worker has one deadline for all of its threads, and each "
        "request that ends clears it. Measured with harakiri = 3 and threads = 2: a request of 12 "
        "s beside one fast request a second ended normally after 12 s, and alone it was killed "
        "after 3 s. So harakiri works in tests and not under load. When it fires it kills the "
        "requests of all threads of the worker."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nharakiri = 30\nthreads = 4\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nthreads = 4\n",
        "wsgi.py": "import resilient_wsgi\n\nfrom mysite import app\n\n"
        "resilient_wsgi.install()\napplication = resilient_wsgi.wrap(app)\n",
    },
    fix="Set threads = 1 and more processes, or give each request a deadline of its own: "
    "resilient_wsgi.wrap(application).",
    sources=("uWSGI 2.0.31, core/utils.c: set_harakiri()", "unbit/uwsgi#2706"),
)
def harakiri_with_threads(subject: Subject) -> Iterator[Evidence]:
    """Find harakiri beside several threads, unless the library watches each request; a hint if it
    is there, and may be around the app.
    """
    for config in subject.uwsgi:
        harakiri, threads = config.last("harakiri"), many(config, "threads")
        watched = is_wrapped(subject, config)
        if harakiri and config.number("harakiri") and threads > 1 and not watched:
            yield at(
                harakiri,
                f"harakiri = {brief(harakiri)} with threads = {threads}: a request that ends "
                "disarms it for the one that hangs",
                severity=Severity.HINT if imports_library(config) else None,
            )


@rule(
    "U20",
    Severity.ERROR,
    "harakiri with threads and post-buffering kills healthy workers",
    why=(
        "Since 2.0.22 reading a request's body moves the deadline of the worker by some seconds. "
        "If another thread has just cleared the deadline, that moves it from 0: to a moment in "
        "1970, which is over, and the master kills the worker at once with all of its requests. "
        "`post-buffering` reads every body, so uploads beside other requests trigger it."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nthreads = 4\npost-buffering = 8192\n"
        "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n",
        "machine": "uwsgi = 2.0.31",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nthreads = 1\npost-buffering = 8192\n",
        "machine": "uwsgi = 2.0.31",
    },
    fix="Remove post-buffering, or set threads = 1.",
    sources=(
        "uWSGI 2.0.31, core/reader.c, core/utils.c: inc_harakiri()",
        "unbit/uwsgi#2706",
        "unbit/uwsgi#2580",
    ),
)
def harakiri_with_post_buffering(subject: Subject) -> Iterator[Evidence]:
    """Find the three options together; an error if the version of uWSGI is known."""
    version = version_of(subject, "uwsgi")
    for config in subject.uwsgi:
        buffering, threads = config.last("post-buffering"), many(config, "threads")
        if (
            buffering is None
            or not config.number("post-buffering")
            or not config.number("harakiri")
            or threads == 1
            or is_before(version, (2, 0, 22))
        ):
            continue
        yield at(
            buffering,
            f"post-buffering = {brief(buffering)} with threads = {threads} and harakiri = "
            f"{config.number('harakiri')}: uploads get healthy workers killed",
            severity=Severity.ERROR if version else Severity.WARNING,
        )


@rule(
    "U21",
    Severity.HINT,
    "harakiri without post-buffering: slow uploads are killed",
    why=(
        "Without `post-buffering` the app reads the request's body from the network, inside of "
        "the time that harakiri allows. nginx buffers bodies before it connects "
        "(`uwsgi_request_buffering`), so this matters only where something else is in front. "
        "uWSGI warns about it at startup."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nhttp-socket = :8000\nharakiri = 30\n"},
    good={"uwsgi.ini": "[uwsgi]\nhttp-socket = :8000\nharakiri = 30\npost-buffering = 8192\n"},
    fix="Set post-buffering = 8192 if nothing in front buffers request bodies, and only with "
    "threads = 1.",
    sources=("uWSGI 2.0.31, core/init.c: sanitize_args()",),
)
def harakiri_without_post_buffering(subject: Subject) -> Iterator[Evidence]:
    """Find HTTP sockets with harakiri, where no router in front buffers bodies."""
    for config in subject.uwsgi:
        harakiri = config.last("harakiri")
        direct = [socket for socket in config.sockets() if socket.protocol in {"http", "https"}]
        if (
            harakiri
            and direct
            and config.number("harakiri")
            and many(config, "threads") == 1
            and config.lacks("post-buffering")
        ):
            yield at(
                harakiri,
                f"harakiri = {brief(harakiri)} without post-buffering: it counts the time that "
                f"clients of {direct[0].address} take to send a body",
            )


@rule(
    "U22",
    Severity.ERROR,
    "harakiri-queue-threshold on UNIX sockets: harakiri never fires",
    why=(
        "With `harakiri-queue-threshold` the master kills a worker only while more requests than "
        "that wait in the listen queue. uWSGI cannot see the queue of a UNIX socket: it reads 0. "
        'So harakiri never fires, and the master logs "Skipping harakiri" every second instead.'
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nsocket = /run/app.sock\nharakiri = 30\n"
        "harakiri-queue-threshold = 3\n"
    },
    good={"uwsgi.ini": "[uwsgi]\nsocket = /run/app.sock\nharakiri = 30\n"},
    fix="Remove harakiri-queue-threshold.",
    sources=(
        "uWSGI 2.0.31, core/master.c: master_check_listen_queue()",
        "unbit/uwsgi#2311",
    ),
)
def queue_threshold_on_unix(subject: Subject) -> Iterator[Evidence]:
    """Find a threshold where all sockets are UNIX sockets."""
    for config in subject.uwsgi:
        threshold = config.last("harakiri-queue-threshold")
        if threshold and config.number("harakiri-queue-threshold") and only_unix(config):
            yield at(
                threshold,
                f"harakiri-queue-threshold = {brief(threshold)}, and all sockets are UNIX sockets, "
                "whose queue uWSGI takes for empty: harakiri never fires",
            )


@rule(
    "U23",
    Severity.WARNING,
    "harakiri-graceful-signal without harakiri-graceful-timeout is never sent",
    why=(
        "uWSGI sends the graceful signal only if there is a time to wait for its effect. Without "
        "`harakiri-graceful-timeout` the worker gets SIGKILL at once: no stack is written, no "
        "cleanup runs."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nharakiri = 30\nharakiri-graceful-signal = 34\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nharakiri-graceful-signal = 34\n"
        "harakiri-graceful-timeout = 2\n"
    },
    fix="Set harakiri-graceful-timeout = 2, or remove harakiri-graceful-signal.",
    sources=("uWSGI 2.0.31, core/master_checks.c: trigger_harakiri()",),
)
def graceful_signal_without_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find a graceful signal whose timeout is certainly 0."""
    for config in subject.uwsgi:
        signal = config.last("harakiri-graceful-signal")
        if signal and config.number("harakiri-graceful-timeout", 0) == 0:
            yield at(
                signal,
                f"harakiri-graceful-signal = {brief(signal)}, and harakiri-graceful-timeout is 0: "
                "the signal is never sent",
            )


@rule(
    "U24",
    Severity.WARNING,
    "harakiri-graceful-signal is one that uWSGI uses itself",
    why=(
        "uWSGI installs its own handlers in each worker after the app was loaded. A handler that "
        "the app has set for SIGINT, SIGUSR1, SIGUSR2, SIGPIPE or SIGTERM is overwritten and "
        "never runs; SIGTERM and SIGINT make a busy worker exit in the middle of its requests. "
        "The default is SIGTERM. SIGWINCH and SIGTSTP are uWSGI's own."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nharakiri-graceful-timeout = 2\n"
        "harakiri-graceful-signal = 10\n"
    },
    good={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\nharakiri-graceful-timeout = 2\n"
        "harakiri-graceful-signal = 34\n"
    },
    fix="Set harakiri-graceful-signal = 34 (SIGRTMIN) or another real-time signal, or 1 for an "
    "orderly exit.",
    sources=(
        "uWSGI 2.0.31, core/uwsgi.c: uwsgi_worker_run()",
        "unbit/uwsgi#2696",
        "unbit/uwsgi#2614",
    ),
)
def graceful_signal_taken(subject: Subject) -> Iterator[Evidence]:
    """Find graceful signals for which uWSGI installs a handler."""
    for config in subject.uwsgi:
        signal = config.last("harakiri-graceful-signal")
        if signal and config.number("harakiri-graceful-signal") in TAKEN:
            name = TAKEN[signal.number or 0]
            yield at(
                signal,
                f"harakiri-graceful-signal = {brief(signal)} is {name}, whose handler uWSGI sets "
                "itself: the app's never runs",
            )


@rule(
    "U25",
    Severity.WARNING,
    "harakiri-graceful-timeout is ignored for set_user_harakiri() and route harakiri",
    why=(
        "For a deadline that the app or a route has set, the master stores the grace period in "
        "the wrong field: the worker gets the signal, and SIGKILL in the next second. Measured: 2 "
        "s instead of 10."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nharakiri-graceful-timeout = 10\nroute = ^/report harakiri:120\n"},
    good={"uwsgi.ini": "[uwsgi]\nroute = ^/report harakiri:120\n"},
    fix="Use either harakiri-graceful-timeout or deadlines of single requests.",
    sources=(
        "uWSGI 2.0.31, core/master_checks.c: uwsgi_master_check_workers_deadline()",
        "unbit/uwsgi#2680",
    ),
)
def graceful_timeout_with_own_deadlines(subject: Subject) -> Iterator[Evidence]:
    """Find routes that set a deadline beside a graceful timeout."""
    for config in subject.uwsgi:
        grace = config.last("harakiri-graceful-timeout")
        for option in config.options:
            own = option.name.endswith("route") and "harakiri:" in option.value
            if grace and own and config.number("harakiri-graceful-timeout"):
                yield at(
                    option,
                    f"{option.name} = {brief(option)} with harakiri-graceful-timeout = "
                    f"{brief(grace)}: SIGKILL follows after a second",
                )


@rule(
    "U26",
    Severity.WARNING,
    "harakiri is above worker-reload-mercy: reloads kill requests that harakiri allows",
    why=(
        "At a reload each worker finishes its requests, for at most `worker-reload-mercy` seconds "
        "(60 by default). A request that takes longer is killed together with the worker, "
        "although harakiri would have let it end: each deployment breaks some."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nharakiri = 120\n"},
    good={"uwsgi.ini": "[uwsgi]\nharakiri = 120\nworker-reload-mercy = 125\n"},
    fix="Set worker-reload-mercy a few seconds above harakiri.",
    sources=("uWSGI 2.0.31, core/master.c: uwsgi_curse()", "core/uwsgi.c: worker-reload-mercy"),
)
def harakiri_above_mercy(subject: Subject) -> Iterator[Evidence]:
    """Compare harakiri with worker-reload-mercy, which is 60 by default."""
    for config in subject.uwsgi:
        harakiri, allowed = config.last("harakiri"), config.number("harakiri")
        mercy = config.number("worker-reload-mercy", 60)
        if harakiri and allowed and mercy is not None and allowed > mercy:
            yield at(
                harakiri,
                f"harakiri = {allowed}, worker-reload-mercy = {mercy}: a reload kills requests "
                f"after {mercy} s",
                fix=f"Set worker-reload-mercy = {allowed + 5}.",
            )


@rule(
    "U27",
    Severity.WARNING,
    "harakiri is not below http-timeout: the router hangs up first",
    why=(
        "uWSGI's own HTTP router gives up after `http-timeout` seconds of silence (60 by default) "
        "and closes the client's connection without an answer. The worker goes on with a request "
        "that nobody waits for until harakiri ends it."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nhttp = :8000\nharakiri = 120\nworker-reload-mercy = 125\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nhttp = :8000\nharakiri = 120\nworker-reload-mercy = 125\n"
        "http-timeout = 130\n"
    },
    fix="Set http-timeout above harakiri.",
    sources=("uWSGI 2.0.31, plugins/http/http.c", "unbit/uwsgi#1567"),
)
def harakiri_above_http_timeout(subject: Subject) -> Iterator[Evidence]:
    """Compare harakiri with the timeout of uWSGI's own router."""
    for config in subject.uwsgi:
        harakiri, allowed = config.last("harakiri"), config.number("harakiri")
        limit = config.number("http-timeout", ROUTER_TIMEOUT)
        routed = config.has("http", "https")
        if harakiri and routed and allowed and limit is not None and allowed >= limit:
            yield at(
                harakiri,
                f"harakiri = {allowed}, http-timeout = {limit}: the router closes the connection "
                "before harakiri ends the request",
                fix=f"Set http-timeout = {allowed + 10}.",
            )


@rule(
    "U28",
    Severity.WARNING,
    "http-keepalive with harakiri: clients of a killed worker wait on",
    why=(
        "If a worker is killed in a request that came through uWSGI's router with keep-alive, the "
        "router does not close the client's connection: the client waits until the keep-alive "
        "time is over, too."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nhttp = :8000\nhttp-keepalive = 60\nharakiri = 30\n"},
    good={"uwsgi.ini": "[uwsgi]\nhttp = :8000\nharakiri = 30\n"},
    fix="Remove http-keepalive, or put nginx in front of http-socket or socket.",
    sources=("unbit/uwsgi#2131",),
)
def keepalive_with_harakiri(subject: Subject) -> Iterator[Evidence]:
    """Find keep-alive of the router beside harakiri."""
    for config in subject.uwsgi:
        keepalive = config.last("http-keepalive")
        kills = config.number("harakiri")
        if keepalive and config.number("http-keepalive") and kills and config.has("http", "https"):
            yield at(
                keepalive,
                f"http-keepalive = {brief(keepalive)} with harakiri = {kills}: the client of a "
                "killed worker waits on",
            )


@rule(
    "U29",
    Severity.HINT,
    "py-tracebacker needs the GIL: it shows nothing of a worker that holds it",
    why=(
        "The tracebacker is a thread of the worker that must get the interpreter's lock. If the "
        "worker hangs in C code that keeps the lock, it prints nothing, and the master waits 4 s "
        "for it, in which it starts no worker (measured: 6 s for harakiri = 2). The library's "
        "stack dumps are written by the worker itself before harakiri, and by `resilient-wsgi "
        "stacks` at any time."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nharakiri = 30\npy-tracebacker = /run/app/tracebacker\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nharakiri = 30\npy-tracebacker = /run/app/tracebacker\n"
        "module = resilient_wsgi.uwsgi:application\nhook-accepting = rpc:resilient_wsgi_ready\n"
    },
    fix="Use resilient-wsgi stacks, or have a signal that the app dumps its stacks at.",
    sources=(
        "uWSGI 2.0.31, plugins/python/tracebacker.c",
        "unbit/uwsgi#1692",
        "unbit/uwsgi#506",
    ),
)
def tracebacker(subject: Subject) -> Iterator[Evidence]:
    """Find the tracebacker where nothing else dumps stacks."""
    for config in subject.uwsgi:
        option = config.last("py-tracebacker")
        if option and config.lacks("harakiri-graceful-signal") and not is_wrapped(subject, config):
            yield at(option, "py-tracebacker shows nothing of a worker whose GIL is held")
