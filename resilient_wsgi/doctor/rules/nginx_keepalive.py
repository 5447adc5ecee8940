"""Connections that nginx keeps open to an app."""

from __future__ import annotations

from typing import Iterator

from .. import pairing
from ..model import Evidence, Severity, at, rule
from ..read.nginx import Pass
from ..read.nginx_syntax import seconds
from ..subject import Subject
from .gunicorn_facts import instances
from .nginx_timeouts import passes
from .nginx_upstreams import upstream

DEFAULT_KEEPALIVE_TIMEOUT = 60.0  # of nginx towards an upstream
DEFAULT_GUNICORN_KEEPALIVE = 2
# a sync worker closes every connection, and says so in its answer
_KEEPING = ("gthread", "gevent", "eventlet", "tornado", "asgi")
_KEEPS = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://app'


@rule(
    "N17",
    Severity.HINT,
    "keepalive in an upstream has no effect",
    why=(
        "uWSGI's protocol has no persistent connections: `keepalive` in an upstream does nothing "
        "for uwsgi_pass. For proxy_pass nginx before 1.29.7 speaks HTTP/1.0 and sends `Connection: "
        "close`, unless proxy_http_version is 1.1 and the header is emptied."
    ),
    bad={"nginx.conf": upstream("server 127.0.0.1:3031; keepalive 16")},
    good={
        "nginx.conf": upstream(
            "server 127.0.0.1:8000; keepalive 16",
            'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://app',
        )
    },
    fix=(
        'With proxy_pass, set proxy_http_version 1.1 and proxy_set_header Connection "". With '
        "uwsgi_pass, remove keepalive."
    ),
    sources=("nginx, ngx_http_upstream_module: keepalive",),
)
def keepalive_without_effect(subject: Subject) -> Iterator[Evidence]:
    """Find upstreams with keepalive that no location can use."""
    for passed in passes(subject):
        kept = passed.upstream.own("keepalive") if passed.upstream else []
        if not kept:
            continue
        if passed.protocol == "uwsgi":
            yield at(kept[-1], "uwsgi_pass has no persistent connections")
        elif not _persistent(passed):
            message = f"proxy_pass at line {passed.directive.line} closes each connection"
            yield at(kept[-1], message)


def _persistent(passed: Pass) -> bool:
    version = passed.option("http_version")
    headers = {each.value.lower(): each.args for each in passed.all("set_header")}
    connection = headers.get("connection", ["Connection", "close"])
    return version is not None and version.value != "1.0" and "close" not in connection[1:]


@rule(
    "N19",
    Severity.WARNING,
    "nginx keeps connections open for longer than gunicorn",
    why=(
        "nginx uses a connection again as long as its `keepalive_timeout` allows, 60 s by default. "
        "gunicorn closes an idle one after `keepalive`, 2 s by default. A request that is sent "
        "just then meets a closed connection: 502, now and then, and nobody can reproduce it."
    ),
    bad={
        "gunicorn.conf.py": "worker_class = 'gthread'\nthreads = 4\nkeepalive = 5\n",
        "nginx.conf": upstream("server 127.0.0.1:8000; keepalive 16", _KEEPS),
    },
    good={
        "gunicorn.conf.py": "worker_class = 'gthread'\nthreads = 4\nkeepalive = 75\n",
        "nginx.conf": upstream("server 127.0.0.1:8000; keepalive 16", _KEEPS),
    },
    fix="Set gunicorn's keepalive above nginx's keepalive_timeout: 75 and 60, for example.",
    sources=(
        "nginx, ngx_http_upstream_module: keepalive_timeout, 60 s",
        "gunicorn: keepalive, 2 s",
    ),
)
def kept_for_too_long(subject: Subject) -> Iterator[Evidence]:
    """Compare keepalive_timeout of upstreams with the keepalive of the one gunicorn there is."""
    found = instances(subject)
    if len(found) != 1 or len(pairing.targets(subject)) != 1:
        return
    gunicorn = found[0].settings
    kept = gunicorn.number("keepalive", DEFAULT_GUNICORN_KEEPALIVE)
    for passed in passes(subject, "proxy"):
        block = passed.upstream
        if block is None or not block.own("keepalive") or not _persistent(passed):
            continue
        option = ([None, *block.own("keepalive_timeout")])[-1]
        idle = seconds(option.value) if option else DEFAULT_KEEPALIVE_TIMEOUT
        if kept is not None and idle is not None and idle >= kept and gunicorn.worker() in _KEEPING:
            message = f"keepalive_timeout = {idle:g} s, keepalive of gunicorn = {kept} s"
            yield at(option or block.own("keepalive")[-1], message)
