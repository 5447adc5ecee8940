"""What the instance listens on."""

from __future__ import annotations

from typing import Iterator

from ...events.base import backlog_steps
from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from ..uwsgi_config import Socket
from .examples import PREFORK, without
from .uwsgi_facts import brief, is_containerised, is_public, only_unix, whole

SOMAXCONN = "net.core.somaxconn"
DEFAULT_LISTEN = 100
WANTED_LISTEN = 1024  # as BACKLOG.MINIMUM
BACKLOG_READERS = (
    "alarm-backlog",
    "cheaper-busyness-backlog-alert",
    "cheaper-busyness-backlog-step",
    "cheaper-busyness-backlog-multiplier",
    "cheaper-busyness-backlog-nonzero",
    "vassal-sos-backlog",
)


@rule(
    "U45",
    Severity.ERROR,
    "listen is above net.core.somaxconn",
    why=(
        "uWSGI compares `listen` with the sysctl `net.core.somaxconn` of its network namespace, "
        "and exits if it is larger. A container has a namespace of its own, where the limit may "
        "be another than on its host."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nlisten = 4096\n",
        "machine": "net.core.somaxconn = 128\n",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nlisten = 1024\n",
        "machine": "net.core.somaxconn = 4096\n",
    },
    fix="Raise net.core.somaxconn in the namespace that uWSGI runs in, or lower listen to it.",
    sources=("uWSGI 2.0.31, core/socket.c: uwsgi_bind_sockets, uWSGI exits", "unbit/uwsgi#2444"),
)
def listen_above_somaxconn(subject: Subject) -> Iterator[Evidence]:
    """Compare listen with the limit of this namespace."""
    limit = subject.machine.number(SOMAXCONN)
    for config in subject.uwsgi:
        asked, option = config.number("listen"), config.last("listen")
        if option and asked is not None and limit is not None and asked > limit:
            yield at(option, f"listen = {asked}, {SOMAXCONN} in this namespace = {limit}")


@rule(
    "U44",
    Severity.WARNING,
    "listen is missing or small: bursts are refused",
    why=(
        "`listen` is the number of connections that may wait for a worker, 100 by default. At 150 "
        "000 requests a minute that is 40 ms of traffic: a reload or a slow database fills it. On "
        "a UNIX socket nginx gets EAGAIN and answers 502 at once; on TCP the kernel drops "
        "connections and clients wait for a second or more."
    ),
    bad={"uwsgi.ini": without("listen")},
    good={"uwsgi.ini": PREFORK},
    fix="Set listen = 1024 or more, not above net.core.somaxconn.",
    sources=(
        "uWSGI 2.0.31, core/init.c: uwsgi.listen_queue = 100",
        "unbit/uwsgi#1804",
        "docs/incidents/small-backlog.md",
    ),
)
def short_listen_queue(subject: Subject) -> Iterator[Evidence]:
    """Compare listen with what the library asks for, and with what this machine allows."""
    allowed = subject.machine.number(SOMAXCONN)
    for config in whole(subject):
        length = config.number("listen", DEFAULT_LISTEN)
        if length is None or length >= WANTED_LISTEN:
            continue
        limit = f"; {SOMAXCONN} in this namespace = {allowed}" if allowed else ""
        option, steps = config.last("listen"), backlog_steps(WANTED_LISTEN, allowed or 0)
        default = "" if option else " (uWSGI's default)"
        yield at(
            option or config,
            f"listen = {length}{default}: bursts above {length} connections are refused or "
            f"delayed{limit}",
            fix=f"{steps[0].upper()}{steps[1:]}.",
        )


@rule(
    "U46",
    Severity.ERROR,
    "the listen queue of UNIX sockets always looks empty: this never acts",
    why=(
        "uWSGI cannot read the length of a UNIX socket's queue on a usual kernel; it sees 0. What "
        "acts on it never does: `cheaper-algo = backlog` (and `backlog2`) never starts another "
        "worker, whatever waits; the alarms and the emergency workers of "
        "`cheaper-busyness-backlog-*` stay silent."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nsocket = /run/app.sock\nprocesses = 8\ncheaper = 2\n"
        "cheaper-algo = backlog\n"
    },
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nprocesses = 8\ncheaper = 2\n"
        "cheaper-algo = backlog\n"
    },
    fix="Listen on 127.0.0.1 instead, or use cheaper-algo = busyness or spare.",
    sources=(
        "uWSGI 2.0.31, core/master.c: SIOBKLGQ",
        "unbit/uwsgi#2588",
    ),
)
def backlog_of_unix_sockets(subject: Subject) -> Iterator[Evidence]:
    """Find what acts on the listen queue where all sockets are UNIX sockets."""
    for config in subject.uwsgi:
        if not only_unix(config):
            continue
        for option in config.options:
            algorithm = option.name == "cheaper-algo" and option.value.startswith("backlog")
            if algorithm or option.canonical in BACKLOG_READERS:
                yield at(
                    option,
                    f"{option.name} = {brief(option)}, and all sockets are UNIX: uWSGI takes "
                    "their queue for empty",
                    severity=Severity.ERROR if algorithm else Severity.WARNING,
                )


@rule(
    "U48",
    Severity.HINT,
    "there is no stats socket, or everybody can read it",
    why=(
        "The stats server shows each worker, its current request, its memory and the listen "
        "queue; uwsgitop and exporters read it. It has no password, and what it shows includes "
        "the variables of the requests that run: paths, addresses, cookies."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nstats = :9191\n"},
    good={"uwsgi.ini": "[uwsgi]\nstats = 127.0.0.1:9191\n"},
    fix="Set stats = 127.0.0.1:9191, or a UNIX socket.",
    sources=(
        "uWSGI 2.0.31, core/stats.c: uwsgi_generate_stats()",
        "https://uwsgi-docs.readthedocs.io/en/latest/StatsServer.html",
    ),
)
def stats_socket(subject: Subject) -> Iterator[Evidence]:
    """Find stats on a public address; a hint where there is none at all, or in a container."""
    for config in subject.uwsgi:
        option = config.last("stats")
        if option and is_public(option.value):
            yield at(
                option,
                f"stats = {brief(option)}: every host that gets through can read the variables of "
                "running requests",
                severity=Severity.HINT if is_containerised(subject) else Severity.WARNING,
            )
    for config in whole(subject):
        if config.lacks("stats"):
            yield at(config, "stats is not set: workers cannot be looked at from outside")


@rule(
    "U50",
    Severity.HINT,
    "vacuum is missing: sockets and FIFOs stay behind",
    why=(
        "Without `vacuum` the socket's file remains when uWSGI ends. A router that connects to it "
        'gets "connection refused" instead of "no such file", and a restart as another user may '
        "not be able to replace it."
    ),
    bad={"uwsgi.ini": without("vacuum")},
    good={"uwsgi.ini": PREFORK},
    fix="Set vacuum = true.",
    sources=("uWSGI 2.0.31, core/uwsgi.c: vacuum()",),
)
def no_vacuum(subject: Subject) -> Iterator[Evidence]:
    """Find whole configurations with UNIX sockets and without vacuum."""
    for config in whole(subject):
        files = [each for each in config.sockets() if each.address.startswith("/")]
        if files and config.off("vacuum"):
            yield at(
                config.last("vacuum") or config,
                f"vacuum is not set: {files[0].address} stays when uWSGI ends",
            )


@rule(
    "U59",
    Severity.WARNING,
    "the uwsgi protocol is open to other hosts: any client may run code",
    why=(
        "The uwsgi protocol is for the router in front and has no authentication. Its variables "
        "can make uWSGI run any file of the host as an app (`UWSGI_FILE`), an upload for one. On a "
        "public address every host that gets through can do that."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nsocket = 0.0.0.0:3031\n"},
    good={"uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\n"},
    fix="Bind to 127.0.0.1 or a UNIX socket, or use http-socket where the router is on another "
    "host.",
    sources=(
        "uWSGI 2.0.31, plugins/python/wsgi_subhandler.c, core/protocol.c: UWSGI_FILE",
        "https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html",
    ),
)
def public_uwsgi_socket(subject: Subject) -> Iterator[Evidence]:
    """Find the protocol on addresses that are not loopback; a hint in a container, whose network
    may be closed.
    """
    for config in subject.uwsgi:
        for socket in config.sockets():
            if socket.protocol in {"uwsgi", "puwsgi"} and is_public(socket.address):
                yield at(
                    socket,
                    f"{socket.option.name} = {socket.address} speaks the uwsgi protocol with every "
                    "host that gets through",
                    severity=Severity.HINT if is_containerised(subject) else None,
                )


@rule(
    "U72",
    Severity.WARNING,
    "reuse-port without net.ipv4.tcp_migrate_req: a worker that ends drops what waits for it",
    why=(
        "With `reuse-port` each process has a listen queue of its own. When it ends, the kernel "
        "resets the connections that wait in that queue, unless `net.ipv4.tcp_migrate_req` (Linux "
        "5.14) hands them to another: each reload drops requests."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nreuse-port = true\n",
        "machine": "net.ipv4.tcp_migrate_req = 0",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nreuse-port = true\n",
        "machine": "net.ipv4.tcp_migrate_req = 1",
    },
    fix="Set net.ipv4.tcp_migrate_req = 1, or remove reuse-port.",
    sources=(
        "uWSGI 2.0.31, core/socket.c: SO_REUSEPORT",
        "Linux, Documentation/networking/ip-sysctl.rst",
    ),
)
def reuse_port(subject: Subject) -> Iterator[Evidence]:
    """Find the option where this namespace is known not to migrate connections."""
    migrates = subject.machine.number("net.ipv4.tcp_migrate_req")
    for config in subject.uwsgi:
        option = config.last("reuse-port")
        if option and config.on("reuse-port") and migrates == 0:
            yield at(
                option,
                "reuse-port, and net.ipv4.tcp_migrate_req in this namespace = 0: a process that "
                "ends drops the connections that wait for it",
            )


@rule(
    "U80",
    Severity.WARNING,
    "chmod-socket lets every local user speak to the app",
    why=(
        "Every user of the host may connect to a socket of mode 666, and the uwsgi protocol lets "
        "them run code as the app's user. Only the router's group has to be able to."
    ),
    bad={"uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\nchmod-socket = 666\n"},
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\nchmod-socket = 660\n"
        "chown-socket = app:www-data\n"
    },
    fix="Set chmod-socket = 660 and chown-socket = USER:GROUP with the router's group.",
    sources=("uWSGI 2.0.31, core/socket.c: chmod()", "unbit/uwsgi#1779"),
)
def open_socket_file(subject: Subject) -> Iterator[Evidence]:
    """Find modes that others may write to; a hint in a container, which has one user."""
    for config in subject.uwsgi:
        option = config.last("chmod-socket")
        everybody = option and (option.value.strip()[-1:] in {"2", "3", "6", "7"})
        files = [each for each in config.sockets() if each.is_unix]
        if option and option.resolved and files and (everybody or not option.value):
            yield at(
                option,
                f"chmod-socket = {option.value or '666 (its default)'}: every local user may "
                "connect",
                severity=Severity.HINT if is_containerised(subject) else None,
            )


@rule(
    "U60",
    Severity.WARNING,
    "uWSGI's own HTTP router stands behind nginx: one more process, and a hidden queue",
    why=(
        "`http` starts a router of uWSGI's own, a process that hands each request on to the "
        "workers. Behind nginx it does nothing but that: all traffic goes through one more "
        "process without a queue limit that anybody sees, requests wait in the router and not in "
        "the listen queue that is watched, and its own timeout (`http-timeout`, 60 s) ends them."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nhttp = 127.0.0.1:8000\n",
        "nginx.conf": "events {}\nhttp {\n  server {\n    location / {\n"
        "      proxy_pass http://127.0.0.1:8000;\n    }\n  }\n}\n",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nhttp-socket = 127.0.0.1:8000\n",
        "nginx.conf": "events {}\nhttp {\n  server {\n    location / {\n"
        "      proxy_read_timeout 29s;\n      proxy_pass http://127.0.0.1:8000;\n    }\n  }\n}\n",
    },
    fix="Use socket with uwsgi_pass, or http-socket with proxy_pass.",
    sources=(
        "https://uwsgi-docs.readthedocs.io/en/latest/ThingsToKnow.html",
        "unbit/uwsgi#1804",
    ),
)
def router_behind_nginx(subject: Subject) -> Iterator[Evidence]:
    """Find routers of uWSGI at an address that nginx passes requests to."""
    asked = [
        address for nginx in subject.nginx for each in nginx.passes() for address in each.servers()
    ]
    for config in subject.uwsgi:
        for socket in config.sockets():
            if socket.router and any(_is_at(address, socket) for address in asked):
                yield at(
                    socket,
                    f"{socket.option.name} = {socket.address} is uWSGI's own router, and nginx "
                    "passes requests to it",
                )


def _is_at(asked: str, socket: Socket) -> bool:
    from ..pairing import same_address

    return same_address(asked, socket)
