"""The sections about waits for other machines: HTTP upstreams and, behind drivers of their own,
databases, caches, brokers and mail servers.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple, Union

from .section import ENFORCE, REPORT, Section, mode, option
from .types import AUTO, Boolean, Choice, Fraction, Hosts, HostShares, Names, Seconds

RESPECT = "respect"


class Outbound(Section):
    """Waits for upstreams: limits on every outbound HTTP exchange."""

    mode: str = mode("HTTP clients are not touched.")
    connect_timeout: Union[float, str, None] = option(
        AUTO,
        Seconds(above=0, none="no limit", auto="5 in a request, 10 elsewhere"),
        "Connecting: DNS, all addresses and the TLS handshake together.",
        "s",
    )
    read_timeout: Union[float, str, None] = option(
        AUTO,
        Seconds(above=0, none="no limit", auto="15 in a request, 120 elsewhere"),
        "Silence: the longest wait for the next bytes.",
        "s",
    )
    total_timeout: Union[float, str, None] = option(
        AUTO,
        Seconds(
            above=0,
            none="no limit",
            auto="in a request 30, or the caller's own number if that is more; elsewhere no limit",
        ),
        "The whole call, from its start to the last byte that the call itself reads. A number set "
        "here also limits calls with a `timeout` of their own, in a request and elsewhere.",
        "s",
    )
    explicit_none: str = option(
        AUTO,
        Choice(AUTO, ENFORCE, RESPECT, REPORT),
        "Calls with an explicit `timeout=None`. `auto`: the defaults in a request, no limit of "
        "silence elsewhere; `enforce`: the defaults; `respect`: no limit; `report`: no limit and "
        "an event.",
    )
    pass_deadline: bool = option(
        False,
        Boolean(),
        "Headers of outbound calls: send what is left of the request's deadline, in milliseconds, "
        "as `X-Request-Timeout-Ms`.",
    )
    hosts: Mapping[str, Mapping[str, Any]] = option(
        {},
        Hosts(),
        "Calls to single hosts: `api.example`, `*.internal`, `127.0.0.1:9200`; the most specific "
        "pattern wins.",
    )


class Drivers(Section):
    """Waits for databases, caches, brokers and mail servers: their drivers end at the deadline."""

    mode: str = mode("drivers are not touched.")
    connect_timeout: Union[float, str, None] = option(
        AUTO,
        Seconds(above=0, none="no limit", auto="5 in a request, 10 elsewhere"),
        "Connecting with a driver that has no limit of its own. Usually left alone: a number that "
        "the app gives its driver is kept.",
        "s",
    )
    exempt: Tuple[str, ...] = option(
        (),
        Names(),
        "Drivers that are not touched, by the name of their package: `redis`, `psycopg`.",
    )
    statement_timeout: Optional[float] = option(
        None,
        Seconds(above=0, none="the server's own"),
        "Statements of PostgreSQL, on connections that psycopg opens in requests: the server ends "
        "those that run longer, also after the worker is gone. It is set once, when connecting; "
        "poolers such as PgBouncer refuse it, and then it is left out.",
        "s",
    )


class Bulkhead(Section):
    """Fair share: an upstream that hangs never holds all threads. Usually left alone."""

    mode: str = mode("no upstream is limited.")
    share: float = option(
        0.5,
        Fraction(),
        "The threads that calls which hang may hold, all together, before they are ended: a part "
        "of all threads. Where no threads are idle for seconds, it is less.",
    )
    slow_call: float = option(
        1.0,
        Seconds(above=0),
        "A call may be this old, whatever is usual for its upstream: above pauses such as those of "
        "garbage collection.",
        "s",
    )
    hosts: Mapping[str, Mapping[str, Any]] = option(
        {},
        HostShares(),
        "Single upstreams, by pattern as in OUTBOUND.HOSTS: `SHARE` is a part of the threads that "
        "it never exceeds, `EXEMPT` has it never be limited.",
    )
