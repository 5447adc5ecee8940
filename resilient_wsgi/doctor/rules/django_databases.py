"""Rules about DATABASES and CACHES of a Django project."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Tuple

from ..model import Evidence, Severity, at, rule
from ..read.django import Database, DjangoSettings, projects
from ..subject import Subject
from .uwsgi_facts import is_since
from .versions import version_of

POSTGRESQL = """\
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "db.example",
        "OPTIONS": {"connect_timeout": 5, "keepalives_idle": 30, "tcp_user_timeout": 30000},
    }
}
"""
MYSQL = """\
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "db.example",
        "OPTIONS": {"connect_timeout": 5, "read_timeout": 30, "write_timeout": 30},
    }
}
"""
REDIS = """\
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://cache.example",
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }
}
"""
MEMCACHED = """\
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "cache.example:11211",
        "OPTIONS": {"timeout": 2, "connect_timeout": 1},
    }
}
"""
# the system's time of silence until the first probe, above which a probe comes too late
LONG_IDLE = 300
WITH_RETRIES = (8,)


def databases(subject: Subject) -> Iterator[Tuple[DjangoSettings, Database]]:
    """Yield the databases of the project, if there is one."""
    for project in projects(subject):
        for each in project.databases():
            yield project, each


def caches(subject: Subject) -> Iterator[Tuple[DjangoSettings, str, Mapping[str, Any]]]:
    """Yield the caches of the project, if there is one."""
    for project in projects(subject):
        for alias, each in project.caches():
            yield project, alias, each


@rule(
    "D02",
    Severity.WARNING,
    "a database has no connect_timeout",
    why=(
        "If the host of the database is gone, or a firewall drops packets, a connection attempt "
        "waits until the kernel gives up: 127 s, psycopg 3 waits 130 s. Each request that needs a "
        "new connection keeps its thread for that long."
    ),
    bad={"django": POSTGRESQL.replace('"connect_timeout": 5, ', "")},
    good={"django": POSTGRESQL},
    fix="Set OPTIONS = {'connect_timeout': 5}.",
    sources=("psycopg, conninfo.py", "saleor/saleor#13739"),
)
def no_connect_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find databases that are reached by TCP without the option, and without a service file."""
    for django, each in databases(subject):
        if each.vendor and each.host and not {"connect_timeout", "service"} & set(each.options):
            yield at(django, f"DATABASES[{each.alias!r}] has no connect_timeout")


@rule(
    "D03",
    Severity.WARNING,
    "a PostgreSQL connection notices a lost server only after hours",
    why=(
        "A statement waits for its answer without a limit. If the server's host or the network is "
        "gone in the meantime, no packet says so: TCP looks after 7200 s by default, and a "
        "statement that cannot be sent is repeated for about 15 min."
    ),
    bad={"django": POSTGRESQL.replace(', "keepalives_idle": 30, "tcp_user_timeout": 30000', "")},
    good={"django": POSTGRESQL},
    fix="Set OPTIONS = {'keepalives_idle': 30, 'keepalives_interval': 10, 'keepalives_count': 3, "
    "'tcp_user_timeout': 30000}.",
    sources=("psycopg/psycopg2#561", "libpq, Connection Parameters", "tcp(7)"),
)
def no_keepalives(subject: Subject) -> Iterator[Evidence]:
    """Find PostgreSQL by TCP without either option where the system's probes come late."""
    idle = subject.machine.number("net.ipv4.tcp_keepalive_time")
    for django, each in databases(subject):
        limited = {"keepalives_idle", "tcp_user_timeout", "service"} & set(each.options)
        if each.vendor == "postgresql" and each.host and not limited and (idle or 7200) > LONG_IDLE:
            yield at(
                django,
                f"DATABASES[{each.alias!r}] has neither keepalives_idle nor tcp_user_timeout: a "
                f"lost server is noticed after {idle or 7200} s",
            )


@rule(
    "D04",
    Severity.WARNING,
    "MySQL has no read_timeout: a statement waits for ever",
    why=(
        "mysqlclient and PyMySQL wait for an answer without a limit unless `read_timeout` and "
        "`write_timeout` are set. A lock, a full disk or a lost host keeps the thread."
    ),
    bad={"django": MYSQL.replace(', "read_timeout": 30, "write_timeout": 30', "")},
    good={"django": MYSQL},
    fix="Set OPTIONS = {'read_timeout': 30, 'write_timeout': 30}.",
    sources=("PyMySQL/mysqlclient#548", "PyMySQL/PyMySQL#136"),
)
def no_read_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find MySQL by TCP without read_timeout."""
    for django, each in databases(subject):
        if each.vendor == "mysql" and each.host and "read_timeout" not in each.options:
            yield at(django, f"DATABASES[{each.alias!r}] has no read_timeout")


@rule(
    "D05",
    Severity.WARNING,
    "CONN_MAX_AGE without CONN_HEALTH_CHECKS: the first request after a restart fails",
    why=(
        "With `CONN_MAX_AGE` connections are kept for the next requests. When the database was "
        "restarted, or a firewall has forgotten the connection, the next request in each thread "
        "gets OperationalError. `CONN_HEALTH_CHECKS` looks first, once a request."
    ),
    bad={"django": 'DATABASES = {"default": {"ENGINE": "x", "CONN_MAX_AGE": 600}}\n'},
    good={
        "django": 'DATABASES = {\n    "default": {"ENGINE": "x", "CONN_MAX_AGE": 600, '
        '"CONN_HEALTH_CHECKS": True}\n}\n'
    },
    fix="Set CONN_HEALTH_CHECKS to True.",
    sources=("https://docs.djangoproject.com/en/stable/ref/settings/#conn-health-checks",),
)
def no_health_checks(subject: Subject) -> Iterator[Evidence]:
    """Find connections that are kept without being looked at; None keeps them for ever."""
    for django, each in databases(subject):
        age = each.get("CONN_MAX_AGE", 0)
        if age != 0 and not each.get("CONN_HEALTH_CHECKS"):
            yield at(
                django,
                f"DATABASES[{each.alias!r}] has CONN_MAX_AGE = {age} and no CONN_HEALTH_CHECKS",
            )


@rule(
    "D07",
    Severity.WARNING,
    "the Redis cache has no socket_timeout",
    why=(
        "redis-py before 8 waits for an answer without a limit; 8 waits 5 s and tries 10 times, "
        "which is longer than most requests may take. A cache that hangs takes every request with "
        "it that asks it."
    ),
    bad={"django": REDIS.replace('"socket_timeout": 2, ', "")},
    good={"django": REDIS},
    fix="Set OPTIONS = {'socket_timeout': 2, 'socket_connect_timeout': 2} (django-redis: "
    "SOCKET_TIMEOUT, SOCKET_CONNECT_TIMEOUT).",
    sources=("redis/redis-py#2243", "redis-py, _defaults.py"),
)
def slow_redis(subject: Subject) -> Iterator[Evidence]:
    """Find Redis caches without the option of either backend, and none in their address."""
    for django, alias, each in caches(subject):
        retries = is_since(version_of(subject, "redis"), WITH_RETRIES)
        limited = "socket_timeout" in str(each.get("LOCATION")) or _names(each, "socket_timeout")
        if "redis" in str(each.get("BACKEND")).lower() and not limited:
            yield at(
                django,
                f"CACHES[{alias!r}] has no socket_timeout: "
                + ("5 s, 10 times" if retries else "it may wait for ever"),
                severity=Severity.HINT if retries else None,
            )


@rule(
    "D19",
    Severity.WARNING,
    "the pymemcache cache has no timeout",
    why=(
        "pymemcache waits for a connection and for answers without a limit unless `timeout` and "
        "`connect_timeout` are set. A cache that hangs takes every request with it that asks it."
    ),
    bad={"django": MEMCACHED.replace('"timeout": 2, ', "")},
    good={"django": MEMCACHED},
    fix="Set OPTIONS = {'timeout': 2, 'connect_timeout': 1}.",
    sources=("pymemcache, client/base.py: Client",),
)
def slow_memcached(subject: Subject) -> Iterator[Evidence]:
    """Find pymemcache without the option."""
    for django, alias, each in caches(subject):
        if "PyMemcacheCache" in str(each.get("BACKEND")) and not _names(each, "timeout"):
            yield at(django, f"CACHES[{alias!r}] has no timeout: it may wait for ever")


def _names(cache: Mapping[str, Any], option: str) -> bool:
    """Return whether a cache has an option, in upper or lower case."""
    return option in {str(name).lower() for name in dict(cache.get("OPTIONS") or {})}
