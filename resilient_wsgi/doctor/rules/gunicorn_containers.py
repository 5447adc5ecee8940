"""Rules about gunicorn as what a container or nginx has before it, and its versions."""

from __future__ import annotations

from typing import Iterator, Optional

from ..model import Evidence, Severity, at, rule
from ..pairing import targets
from ..read import runners
from ..read.nginx import Pass
from ..read.nginx_syntax import seconds
from ..subject import Subject
from .gunicorn_facts import instances
from .uwsgi_facts import is_before, is_since
from .versions import shown, version_of

KEEPING = ("gthread", "gevent", "eventlet", "tornado", "asgi")
NGINX_IDLE = 60.0  # of an upstream's keepalive_timeout
_IMAGE = 'FROM python:3.12\nCMD ["gunicorn", "-c", "gunicorn.conf.py", "mysite.wsgi"]\n'
_NGINX = """\
events {}
http {
  upstream app {
    server 127.0.0.1:8000;
    keepalive 16;
    keepalive_timeout 5s;
  }
  server {
    location / {
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 29s;
      proxy_pass http://app;
    }
  }
}
"""


@rule(
    "G12",
    Severity.WARNING,
    "gunicorn before 26.1 as process 1 takes a foreign child's exit for a failed start",
    why=(
        "As process 1 of a container gunicorn is given the orphans of all others. Before 26.1 it "
        "took one that ended with code 3 or 4 for a worker that failed to start, and stopped the "
        "whole instance."
    ),
    bad={"requirements.txt": "gunicorn==26.0.0\n", "Dockerfile": _IMAGE},
    good={"requirements.txt": "gunicorn==27.0.1\n", "Dockerfile": _IMAGE},
    fix="Install gunicorn 26.1 or newer, or run it below tini (docker run --init).",
    sources=("benoitc/gunicorn#3220",),
)
def orphans_of_others(subject: Subject) -> Iterator[Evidence]:
    """Compare the version with that of the fix, where gunicorn is a container's first process."""
    version = version_of(subject, "gunicorn")
    for runner in runners.of(subject):
        command = runner.running("gunicorn")
        if not (command and runner.in_container and is_before(version, (26, 1))):
            continue
        if not {"tini", "dumb-init"} & set(command.wrappers):
            yield at(
                command,
                f"gunicorn {shown(version)} is process 1 of {runner}",
            )


@rule(
    "G13",
    Severity.WARNING,
    "gunicorn 25.1 to 26.0 leaves a control socket behind at each reload",
    why=(
        "From 25.1 on gunicorn has a control socket. Until 26.0 each SIGHUP opened another one "
        "and did not close the one before: a service that is reloaded often runs out of "
        "descriptors."
    ),
    bad={"requirements.txt": "gunicorn==26.0.0\n", "Procfile": "web: gunicorn mysite.wsgi\n"},
    good={"requirements.txt": "gunicorn==27.0.1\n", "Procfile": "web: gunicorn mysite.wsgi\n"},
    fix="Install gunicorn 26.1 or newer, or start it with --no-control-socket.",
    sources=("benoitc/gunicorn#3648",),
)
def control_sockets(subject: Subject) -> Iterator[Evidence]:
    """Compare the version with those that have the defect."""
    version = version_of(subject, "gunicorn")
    for each in instances(subject):
        affected = is_since(version, (25, 1)) and is_before(version, (26, 1))
        if affected and each.settings.value("control_socket_disable") is not True:
            yield at(each.settings, f"gunicorn is {shown(version)}: each SIGHUP leaks a socket")


@rule(
    "N19",
    Severity.WARNING,
    "nginx keeps connections longer than gunicorn: requests fail now and then",
    why=(
        "With `keepalive` in an upstream nginx uses a connection again for 60 s "
        "(`keepalive_timeout`). gunicorn closes one that is idle after 2 s. nginx tries a GET "
        "again that it sends just then; a POST gets 502, seldom and without a line in gunicorn's "
        "log. `sync` workers close each connection after its answer and are not affected."
    ),
    bad={
        "nginx.conf": _NGINX.replace("    keepalive_timeout 5s;\n", ""),
        "Procfile": "web: gunicorn --threads 4 --bind 127.0.0.1:8000 mysite.wsgi\n",
    },
    good={
        "nginx.conf": _NGINX,
        "Procfile": "web: gunicorn --threads 4 --bind 127.0.0.1:8000 --keep-alive 10 mysite.wsgi\n",
    },
    fix="Set keepalive_timeout of the upstream below gunicorn's keepalive.",
    sources=("ngx_http_upstream_module: keepalive_timeout", "gunicorn, config.py: Keepalive"),
)
def nginx_keeps_longer(subject: Subject) -> Iterator[Evidence]:
    """Compare the two times, if there is one instance of gunicorn and one place to pass to."""
    found = instances(subject)
    if len(found) != 1 or len(targets(subject)) != 1:
        return
    settings = found[0].settings
    own, kind = settings.number("keepalive", 2), settings.worker()
    for nginx in subject.nginx:
        for each in nginx.passes():
            kept = _kept(each)
            if kept is not None and kind in KEEPING and own is not None and kept >= own:
                yield at(
                    each.directive,
                    f"nginx keeps connections for {kept:g} s, gunicorn for {own} s",
                )


def _kept(passed: Pass) -> Optional[float]:
    """Return for how long nginx keeps idle connections, None if it keeps none or it is unknown."""
    if passed.upstream is None or not passed.upstream.own("keepalive"):
        return None
    times = passed.upstream.own("keepalive_timeout")
    return seconds(times[-1].value) if times else NGINX_IDLE
