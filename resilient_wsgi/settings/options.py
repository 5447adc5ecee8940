"""The one table of settings: section, option, type, default, unit, one sentence.

It feeds `install()`, the Django dictionary, the environment, the system checks and
docs/settings.md. Times are seconds. One spelling of off for each kind: `MODE="off"` for a section,
False for a switch, None for "no limit" or "none". `upstreams`
has the sections about waits for other machines.
"""

from __future__ import annotations

from typing import Mapping, Optional, Tuple, Union

from .section import (
    ENFORCE,
    MODE as MODES,
    OFF,
    PREFIX,
    REPORT,
    SECTIONS,
    Option,
    Section,
    Settings,
    mode,
    option,
    table,
)
from .types import (
    AUTO,
    AutoBoolean,
    Boolean,
    Choice,
    Fraction,
    Integer,
    Names,
    OptionalChoice,
    PathLimits,
    Paths,
    Seconds,
    Signal,
    Text,
)
from .upstreams import RESPECT, Bulkhead, Drivers, Outbound

__all__ = [
    "AUTO",
    "ENFORCE",
    "OFF",
    "PREFIX",
    "REPORT",
    "RESPECT",
    "SECTIONS",
    "Backlog",
    "Bulkhead",
    "Drivers",
    "Option",
    "Outbound",
    "Overload",
    "Readiness",
    "Request",
    "Section",
    "Settings",
    "Stderr",
    "Threads",
    "table",
]


class Stderr(Section):
    """Waits for the log reader: writes that cannot block."""

    mode: str = mode("`sys.stderr` and the descriptor stay as they are.")
    take_over: Union[bool, str] = option(
        AUTO,
        AutoBoolean(),
        "The descriptor itself: make it non-blocking in the uWSGI master before the first fork, "
        "because uWSGI's C code writes to it too. `auto`: in uWSGI, pipes that can be reopened, and"
        " a limit of 1 s for writes to the journal's socket; `true`: in any server, also what "
        "others may share (any socket, another user's pipe).",
    )
    buffer_bytes: int = option(
        256 * 1024,
        Integer(at_least=0),
        "The buffer of each process for lines that find no room.",
        "bytes",
    )
    keep: str = option(
        "newest", Choice("newest", "oldest"), "Lines that a full buffer keeps; others are dropped."
    )
    flush_timeout: float = option(
        0.5, Seconds(), "The flush of the buffer when the process ends.", "s"
    )


class Threads(Section):
    """Waits for threads: every worker exits when it is asked to."""

    mode: str = mode("threads and the exit of the interpreter are not touched.")
    grace: Union[float, str] = option(
        AUTO,
        Seconds(
            auto="1 s for background threads; for what requests have started, as long as the "
            "server's mercy allows"
        ),
        "All threads together, from the request to stop until they have ended. What requests have "
        "started are threads, and jobs in executors.",
        "s",
    )
    unsignalled_grace: float = option(
        0.5,
        Seconds(),
        "A thread that cannot be signalled to stop, and may be about to end by itself; never more "
        "than GRACE.",
        "s",
    )
    exit_timeout: Union[int, str] = option(
        AUTO,
        Integer(at_least=2, auto="the server's mercy, less a margin"),
        "The whole exit of a worker: what still holds it up then is named in the log and cut "
        "short. Never more than the server's mercy.",
        "s",
    )
    adopt: Union[bool, str] = option(
        AUTO,
        AutoBoolean(),
        "Threads that the app and its libraries start: ask those to stop that can be asked, and do "
        "not let the others hold up the exit. `auto`: under a server, Celery's worker and Django's "
        "`runserver` included.",
    )
    restart: Tuple[str, ...] = option(
        (),
        Names(),
        "Threads started before the fork, by patterns of their names, that are restarted in each "
        "worker.",
    )
    stop_attributes: Tuple[str, ...] = option(
        (),
        Names(),
        "Attributes by which threads of the app can be asked to stop, on the thread or on the "
        "object whose method it runs: an event to set or a method to call, such as `stop_event` or "
        "`stop`.",
    )


class Readiness(Section):
    """Waits for an app: a worker without one exits and is restarted."""

    mode: str = mode("a worker without an app stays and answers 500, as without the library.")
    first_pause: float = option(
        1.0,
        Seconds(),
        "The pause after a worker's first failed load, before its successor loads.",
        "s",
    )
    max_pause: float = option(
        30.0,
        Seconds(),
        "The longest pause between loads; each failure in a row doubles it.",
        "s",
    )
    attempts: int = option(
        3,
        Integer(at_least=1),
        "Loads of each worker at a cold start: if none has succeeded, the instance ends with code "
        "22.",
    )
    startup_timeout: Union[float, str, None] = option(
        AUTO,
        Seconds(above=0, none="no limit", auto="60 in each worker, no limit in the master"),
        "A load: one that takes longer is ended, with the stacks of all its threads in the log.",
        "s",
    )
    check_urlconf: bool = option(
        True,
        Boolean(),
        "The import of Django's URLconf: done before a worker accepts; if it fails, the load has "
        "failed.",
    )
    warm_up: float = option(
        5.0,
        Seconds(),
        "The wait of a new worker, before it accepts, for all readiness checks to pass.",
        "s",
    )
    queue_limit: Optional[int] = option(
        None,
        Integer(at_least=1, none="not checked"),
        "Connections in the listen queue: with this many or more, a worker is not ready.",
    )
    token: str = option(
        "",
        Text(),
        "The details of `/-/ready`: shown to clients that send this as `X-Readiness-Token`; if "
        "empty, to none.",
    )
    probe_paths: bool = option(
        True, Boolean(), "`/-/live` and `/-/ready`: answer them in `wrap()`."
    )
    drain_delay: float = option(
        5.0,
        Seconds(),
        "The time that a draining worker goes on serving, while load balancers notice.",
        "s",
    )
    drain_timeout: float = option(
        25.0, Seconds(), "The drain of a worker, whatever is still in the queue.", "s"
    )
    heal_peers: bool = option(
        False,
        Boolean(),
        "Workers that are stuck without an app: recycle them, at most one in 10 s. They are "
        "reported in any case.",
    )
    peer_stuck_after: float = option(
        30.0, Seconds(), "The time without an app after which a worker counts as stuck.", "s"
    )


class Request(Section):
    """Waits in a request: its deadline, its watchdog, clients that have hung up."""

    mode: str = mode("requests pass as they are.")
    timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="no other limit than harakiri"),
        "A request: its deadline. harakiri stays the limit where it is earlier.",
        "s",
    )
    reserve: float = option(
        0.5,
        Seconds(),
        "The time to answer between the deadline and harakiri (which fires up to 1 s early).",
        "s",
    )
    paths: Mapping[str, Optional[float]] = option(
        {},
        PathLimits(),
        "Requests by path, in the place of TIMEOUT; the first pattern that matches counts. The "
        "harakiri in force for the request (option, route, post-buffering) stays the limit.",
    )
    router_timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="not known"),
        "The wait of the router in front: the deadline is no later than this, less the time that "
        "the request has waited in the queue.",
        "s",
    )
    trusted_headers: Tuple[str, ...] = option(
        (),
        Names(),
        "Headers that may shorten the deadline: `grpc-timeout` in its own form, any other in "
        "milliseconds (`X-Request-Timeout-Ms`, `X-Envoy-Expected-Rq-Timeout-Ms`). A router that "
        "forwards them from outside lets clients shorten their own requests.",
    )
    database_timeout: bool = option(
        False,
        Boolean(),
        "Statements of Django: have PostgreSQL, MySQL, MariaDB and SQLite end those that would "
        "outlast the deadline. Costs the first three one round trip for each statement.",
    )
    end_waits: str = option(
        "sockets",
        Choice("sockets", "known"),
        "Waits at the deadline. `sockets`: a wait for a connection of any driver is ended, if no "
        "other thread or process shares it; `known`: only those of HTTP clients and of "
        "`deadline.interruptible()`.",
    )
    slow_after: Union[float, str, None] = option(
        AUTO,
        Seconds(above=0, none="not reported", auto="80 % of the deadline"),
        "A request: one that has run for this long is reported, with the stacks of all threads.",
        "s",
    )
    overdue_grace: float = option(
        5.0,
        Seconds(),
        "A request past TIMEOUT or PATHS: if it still runs after this, its worker is replaced.",
        "s",
    )
    recycle_drain: float = option(
        10.0,
        Seconds(),
        "The other requests of a worker that is being replaced: the time they get to finish.",
        "s",
    )
    recycles_per_minute: int = option(
        6,
        Integer(),
        "Workers of the whole instance that are replaced in a minute because of such requests.",
    )
    soft_timeout: bool = option(
        False,
        Boolean(),
        "Code that runs past the deadline: raise `RequestTimedOut` in it by SOFT_SIGNAL, wherever "
        "it is, in the middle of a transaction too. Only where a worker has one thread.",
    )
    soft_signal: Optional[str] = option("SIGRTMIN+11", Signal(), "The signal of SOFT_TIMEOUT.")
    stacks_signal: Optional[str] = option(
        "SIGRTMIN+10",
        Signal(),
        "The signal by which `resilient-wsgi stacks` has a worker write its stacks if no Python "
        "thread of it answers.",
    )
    gil_timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="no limit"),
        "C code that holds the GIL: a worker in which no Python code can run for this long writes "
        "its stacks and ends.",
        "s",
    )
    record: bool = option(
        True,
        Boolean(),
        "The record of what each worker does, in shared memory: after a kill, the next worker "
        "reports from it what the killed one was doing.",
    )
    client_gone: Union[bool, str] = option(
        AUTO,
        AutoBoolean(),
        "Requests whose client has hung up while they waited: skip them. `auto`: only behind the "
        "uwsgi protocol or a UNIX socket, because a client on a raw HTTP socket may half-close and "
        "still wait for its answer.",
    )
    client_left: str = option(
        OFF,
        MODES,
        "Requests whose client hangs up while they run. `report`: emit an event; `enforce`: for GET"
        " and HEAD also end their waits. Where: as for CLIENT_GONE.",
    )


class Overload(Section):
    """The listen queue: requests that have waited longer than clients do are answered 503."""

    mode: str = mode("no request is shed.")
    queue_time_header: Optional[str] = option(
        None,
        OptionalChoice("X-Request-Start", "X-Queue-Start", none="the listen queue tells"),
        "The header in which the router in front says when it got the request. Usually left alone: "
        "how long each request has waited follows from the listen queue. The router must set or "
        "append to it itself: of several values the last one counts, and no other header is read.",
    )
    target: Optional[float] = option(
        None,
        Seconds(above=0, none="learned from clients that hang up"),
        "The usual wait in the queue: if for a second every request waited longer, those that "
        "waited more than twice as long are shed. Usually left alone; for servers that cannot see "
        "clients hang up (plain HTTP over TCP).",
        "s",
    )
    max_wait: Optional[float] = option(
        None,
        Seconds(above=0, none="learned from clients that hang up"),
        "The longest wait in the queue: a request that waited longer is shed, if others wait, too. "
        "Usually left alone.",
        "s",
    )
    max_shed_share: float = option(
        0.95,
        Fraction(),
        "The share of requests that is shed at most, whatever is thought of their waits. Usually "
        "left alone.",
    )
    critical: Tuple[str, ...] = option(
        (),
        Paths(),
        "Requests that are never shed; nor are up to 5 probes a second, of load balancers and to "
        "the usual health paths.",
    )
    sheddable: Tuple[str, ...] = option(
        (), Paths(), "Requests that are shed first: after half the wait that others may have."
    )

    def in_apps(self, settings: Settings) -> bool:
        """Return whether wrapped apps need it: to shed, or to know how long requests waited."""
        return self.mode != OFF or self.measures(settings)

    @staticmethod
    def measures(settings: Settings) -> bool:
        """Return whether REQUEST.ROUTER_TIMEOUT depends on how long each request has waited."""
        request = settings[Request]
        return request.mode != OFF and request.router_timeout is not None


class Backlog(Section):
    """The listen queue: one that is too short is reported at startup, before it is full."""

    mode: str = mode("the listen queue is not checked.")
    minimum: int = option(
        1024,
        Integer(at_least=1),
        "The length of a listen queue: a shorter one is reported.",
        "connections",
    )
