"""The one table of settings: section, option, type, default, unit, one sentence.

It feeds `install()`, the Django dictionary, the environment, the system checks and
docs/settings.md. Times are seconds. A class is a section, a field an option;
`OUTBOUND.TOTAL_TIMEOUT` in the settings is `settings.outbound.total_timeout` here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple, Type, Union

from .types import (
    Choice,
    Hosts,
    Kind,
    Names,
    PathLimits,
    Paths,
    Seconds,
    SecondsByScope,
    Share,
    Signal,
    Text,
    Whole,
    Yes,
)

ENFORCE, REPORT, OFF = "enforce", "report", "off"
MODE = Choice(ENFORCE, REPORT, OFF)
AUTO, ON = "auto", "on"
SWITCH = Choice(AUTO, ON, OFF)


def option(default: Any, kind: Kind, sentence: str, unit: str = "") -> Any:
    """Return the field for one option."""
    metadata = {"kind": kind, "unit": unit, "sentence": sentence}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def mode(sentence: str) -> Any:
    """Return the field MODE, which each section has."""
    return option(
        ENFORCE,
        MODE,
        f"`enforce`; `report`: do nothing, say what would have been done; `off`: {sentence}",
    )


@dataclass(frozen=True)
class Outbound:
    """Waits for others: limits on every outbound HTTP exchange."""

    mode: str = mode("HTTP clients are not touched.")
    connect_timeout: Union[float, str, None] = option(
        AUTO,
        SecondsByScope("5 in a request, 10 elsewhere"),
        "DNS, all addresses and the TLS handshake together.",
        "s",
    )
    read_timeout: Union[float, str, None] = option(
        AUTO,
        SecondsByScope("15 in a request, 120 elsewhere"),
        "Silence: the longest wait for the next bytes.",
        "s",
    )
    total_timeout: Union[float, str, None] = option(
        AUTO,
        SecondsByScope(
            "in a request 30, or the caller's own number if that is more; elsewhere no limit"
        ),
        "Wall clock, from the call to the last byte that the call itself reads. A number set here also "
        "limits calls with a `timeout` of their own, in a request and elsewhere.",
        "s",
    )
    explicit_none: str = option(
        AUTO,
        Choice(AUTO, ENFORCE, "respect", REPORT),
        "What an explicit `timeout=None` of the caller gets; `auto`: the defaults in a request, no "
        "limit of silence elsewhere; `enforce`: the defaults; `respect`: no limit; `report`: no limit and an event.",
    )
    pass_deadline: str = option(
        OFF,
        Choice(ON, OFF),
        "Send what is left of the request's deadline along, in milliseconds, as `X-Request-Timeout-Ms`.",
    )
    hosts: Mapping[str, Mapping[str, Any]] = option(
        {},
        Hosts(),
        "Limits by host: `api.example`, `*.internal`, `127.0.0.1:9200`; the most specific pattern wins.",
    )


@dataclass(frozen=True)
class Stderr:
    """Waits for the reader of the log: writes that cannot block."""

    mode: str = mode("`sys.stderr` and the descriptor stay as they are.")
    take_over: str = option(
        AUTO,
        SWITCH,
        "Make the descriptor itself non-blocking in the uWSGI master before the first fork, because uWSGI's C code "
        "writes there too; `auto`: in uWSGI, pipes that can be opened again, and a limit of 1 s for writes to the journal's "
        "socket; `on`: in any server, also what others may share (any socket, another user's pipe).",
    )
    buffer_bytes: int = option(
        256 * 1024,
        Whole(at_least=0),
        "The most that a process buffers while the log has no room.",
        "bytes",
    )
    keep: str = option("newest", Choice("newest", "oldest"), "Which lines a full buffer keeps.")
    flush_timeout: float = option(
        0.5, Seconds(), "The longest that an exiting process waits to flush its buffer.", "s"
    )


@dataclass(frozen=True)
class Threads:
    """Waits for threads: every worker ends when it is told to."""

    mode: str = mode("threads and the exit of the interpreter are not touched.")
    grace: Optional[float] = option(
        None,
        Seconds(
            none="1 s for background threads, and for what requests have started as long as the server's mercy allows"
        ),
        "How long all threads together get to end, once told to stop; by default background threads get 1 s, and what requests "
        "have started (threads, jobs in executors) what the server's mercy allows.",
        "s",
    )
    untold_grace: float = option(
        0.5,
        Seconds(),
        "How long a thread gets that nobody can tell to stop (never more than GRACE): it may be about to end by itself.",
        "s",
    )
    fuse: Optional[int] = option(
        None,
        Whole(at_least=2, none="the server's mercy, less a margin"),
        "How long the whole exit of a worker may take; what then still holds it up is named and cut short. Never more than the "
        "server's mercy.",
        "s",
    )
    adopt: str = option(
        AUTO,
        SWITCH,
        "Know the threads that the app and its libraries start, tell those to stop for which there is a way, and do not let "
        "the others hold up the exit; `auto`: under a server, Celery's worker and Django's `runserver` among them.",
    )
    restart: Sequence[str] = option(
        (),
        Names(),
        "Threads started before the fork, by patterns of their names, that are started anew in each worker after it.",
    )
    stop_attributes: Sequence[str] = option(
        (),
        Names(),
        "Attributes by which threads of the app can be told to stop, on the thread or the object whose method it runs: an "
        "event that is set, or a method that is called, such as `stop_event` or `stop`.",
    )


@dataclass(frozen=True)
class Readiness:
    """Waits for an app: a worker that has none leaves and is started anew."""

    mode: str = mode("a worker without an app stays and answers 500, as uWSGI has it.")
    first_pause: float = option(
        1.0,
        Seconds(),
        "Pause after a worker's first failed load, spent by the one that takes its place before it loads.",
        "s",
    )
    max_pause: float = option(
        30.0, Seconds(), "The longest such pause; it doubles with each failure in a row.", "s"
    )
    attempts: int = option(
        3,
        Whole(at_least=1),
        "If, at a cold start, no worker has loaded the app after this many tries of each, the instance ends with code 22.",
    )
    startup_timeout: Optional[float] = option(
        None,
        Seconds(none="60 in each worker, no limit in the master"),
        "A load that takes longer is ended, with the stacks of all its threads in the log; 0: no limit.",
        "s",
    )
    check_urlconf: bool = option(
        True,
        Yes(),
        "With Django, import the URLconf before a worker accepts; one that cannot be is a load that failed.",
    )
    warm_up: float = option(
        5.0,
        Seconds(),
        "The longest that a worker waits before it accepts until all readiness checks say yes.",
        "s",
    )
    queue_mark: int = option(
        0,
        Whole(),
        "A worker is not ready while this many connections or more wait in the listen queue; 0: never mind.",
    )
    token: str = option(
        "",
        Text(),
        "Who sends it as `X-Readiness-Token` sees the details of `/-/ready`. Without one, nobody does.",
    )
    probe_paths: bool = option(True, Yes(), "Answer `/-/live` and `/-/ready` in `wrap()`.")
    drain_delay: float = option(
        5.0,
        Seconds(),
        "How long a draining worker goes on serving as before, while others learn of it.",
        "s",
    )
    drain_timeout: float = option(
        25.0, Seconds(), "It goes after this at the latest, whatever is in the queue.", "s"
    )
    heal_peers: bool = option(
        False,
        Yes(),
        "Recycle a worker that is stuck without an app, at most one in 10 s; it is reported in any case.",
    )
    peer_stuck_after: float = option(30.0, Seconds(), "How long that must have been so.", "s")


@dataclass(frozen=True)
class Request:
    """Waits of and for clients: the deadline of a request, its watchdog, the queue, clients that
    are gone.
    """

    mode: str = mode("requests pass as they are.")
    timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="no other limit than harakiri"),
        "The deadline of a request; harakiri, where it is earlier, stays the limit.",
        "s",
    )
    reserve: float = option(
        0.5,
        Seconds(),
        "How long before harakiri (which itself fires up to 1 s early) the deadline lies, to answer in.",
        "s",
    )
    paths: Mapping[str, Optional[float]] = option(
        {},
        PathLimits(),
        "Deadlines by path, in the place of TIMEOUT; the first pattern that matches counts. The harakiri in force for the "
        "request (option, route, post-buffering) stays the limit.",
    )
    router_timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="not known"),
        "How long the router in front waits: what a request has waited in the queue (X-Request-Start) is taken off, and its "
        "deadline lies no later.",
        "s",
    )
    trusted_headers: Tuple[str, ...] = option(
        (),
        Names(),
        "Headers that may shorten the deadline: `grpc-timeout` in its own form, any other in milliseconds "
        "(`X-Request-Timeout-Ms`, `X-Envoy-Expected-Rq-Timeout-Ms`). A front that passes them on from outside lets clients "
        "shorten their own requests.",
    )
    database_timeout: str = option(
        OFF,
        Choice(ON, OFF),
        "Django: let PostgreSQL, MySQL, MariaDB and SQLite end a statement that would outlast the deadline. Costs the first "
        "three a round trip for each statement.",
    )
    slow_after: Optional[float] = option(
        None,
        Seconds(above=0, none="80 % of the deadline"),
        "A request that has run for this long is reported with the stacks of all threads.",
        "s",
    )
    grace: float = option(
        5.0,
        Seconds(),
        "A request that still runs this long after the limit of TIMEOUT or PATHS has its worker replaced.",
        "s",
    )
    drain: float = option(
        10.0,
        Seconds(),
        "How long the other requests of a worker that is to be replaced get to finish.",
        "s",
    )
    recycles_per_minute: int = option(
        6,
        Whole(),
        "How many workers of the whole instance are replaced for that in a minute at most; 0: none.",
    )
    soft_timeout: str = option(
        OFF,
        Choice(ON, OFF),
        "Raise `RequestTimedOut` in the app at the deadline, by SOFT_SIGNAL: wherever the code is, also in the middle of a "
        "transaction. Only where a worker has one thread.",
    )
    soft_signal: Optional[str] = option("SIGRTMIN+11", Signal(), "The signal of SOFT_TIMEOUT.")
    stacks_signal: Optional[str] = option(
        "SIGRTMIN+10",
        Signal(),
        "The signal that `resilient-wsgi stacks` sends to a worker in which no Python thread answers: it writes its stacks.",
    )
    gil_timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="off"),
        "A worker in which no Python code can run for this long, because C code holds the GIL, writes its stacks and ends.",
        "s",
    )
    record: str = option(
        ON,
        Choice(ON, OFF),
        "Keep in shared memory what each worker does, so that the next one can say what a killed one was doing.",
    )
    client_gone: str = option(
        AUTO,
        SWITCH,
        "Skip requests whose client has hung up; `auto`: only behind the uwsgi protocol or a UNIX socket, because a "
        "client on a raw HTTP socket may half-close and still wait for its answer.",
    )
    client_left: str = option(
        OFF,
        Choice(OFF, REPORT, "end"),
        "A client that hangs up while its request runs: not looked for, an event, or (GET and HEAD) the request's waits are "
        "ended too. Where: as for CLIENT_GONE.",
    )
    shed: str = option(
        ENFORCE,
        MODE,
        "Requests that waited too long in the queue: answer 503, only an event, or not looked at.",
    )
    max_queue_wait: Optional[float] = option(
        30.0,
        Seconds(above=0, none="no limit"),
        "A request that waited longer (X-Request-Start) is shed, if the listen queue agrees that there is a queue.",
        "s",
    )
    queue_header: str = option(
        "X-Request-Start",
        Choice("X-Request-Start", "X-Queue-Start"),
        "The header in which the router in front says when it got the request. It must set or append to it itself: of several "
        "values the last one counts, and no other header is read.",
    )
    queue_target: Optional[float] = option(
        None,
        Seconds(above=0, none="MAX_QUEUE_WAIT alone"),
        "If for a second every request waited longer than this, those that waited longer than twice this are shed.",
        "s",
    )
    max_shed_share: float = option(
        0.8, Share(), "At most this share of the requests is shed, in case the header lies."
    )
    critical: Tuple[str, ...] = option(
        (),
        Paths(),
        "Requests that are never shed; nor are, up to 5 a second, those of load balancers and to usual health paths.",
    )
    sheddable: Tuple[str, ...] = option(
        (), Paths(), "Requests that are shed first: at half the wait that others are."
    )


@dataclass(frozen=True)
class Backlog:
    """The listen queue: told at start, with the numbers, before it is full."""

    mode: str = mode("nothing is said of it.")
    minimum: int = option(
        1024, Whole(at_least=1), "A listen queue with room for fewer connections is warned about."
    )


@dataclass(frozen=True)
class Settings:
    """All sections, read and checked."""

    outbound: Outbound = dataclasses.field(default_factory=Outbound)
    stderr: Stderr = dataclasses.field(default_factory=Stderr)
    threads: Threads = dataclasses.field(default_factory=Threads)
    readiness: Readiness = dataclasses.field(default_factory=Readiness)
    request: Request = dataclasses.field(default_factory=Request)
    backlog: Backlog = dataclasses.field(default_factory=Backlog)


SECTIONS: Dict[str, Type[Any]] = {
    cls.__name__.upper(): cls for cls in (Outbound, Stderr, Threads, Readiness, Request, Backlog)
}
PREFIX = "RESILIENT_WSGI"


@dataclass(frozen=True)
class Option:
    """One row of the table."""

    section: str
    name: str
    kind: Kind
    default: Any
    unit: str
    sentence: str

    @property
    def path(self) -> str:
        """Return the name as it is written in messages: `OUTBOUND.TOTAL_TIMEOUT`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Return the environment variable that sets it."""
        return f"{PREFIX}_{self.section}_{self.name}"


def table() -> Iterator[Option]:
    """Return every option, in the order in which they stand here."""
    for section, cls in SECTIONS.items():
        for field in dataclasses.fields(cls):
            yield Option(
                section, field.name.upper(), default=getattr(cls(), field.name), **field.metadata
            )
