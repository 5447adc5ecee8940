"""Rules about the settings of a Django project that make requests wait, or the library blind."""

from __future__ import annotations

import socket
from typing import Any, Iterator, Mapping

from ..model import Evidence, Severity, at, rule
from ..read.django import projects
from ..subject import Subject

APP = "resilient_wsgi.django"
ROTATING = ("RotatingFileHandler", "TimedRotatingFileHandler")
IN_REQUEST = ("SMTPHandler", "HTTPHandler")
LIMITED = ("SMTPHandler",)
_LOGGING = 'LOGGING = {{"version": 1, "handlers": {{"x": {{"class": "{}"{}}}}}}}\n'


def _logging(handler: str, more: str = "") -> str:
    return _LOGGING.format(handler, more)


@rule(
    "D01",
    Severity.WARNING,
    "EMAIL_TIMEOUT is not set: sending mail may wait for ever",
    why=(
        "Without `EMAIL_TIMEOUT` each step of SMTP waits without a limit. If the mail server "
        "hangs, so does every request that sends mail; with `AdminEmailHandler` those are the "
        "ones that fail, so that one error of the app takes the workers one by one."
    ),
    bad={"django": 'EMAIL_HOST = "smtp.example"\n'},
    good={"django": 'EMAIL_HOST = "smtp.example"\nEMAIL_TIMEOUT = 10\n'},
    fix="Set EMAIL_TIMEOUT = 10.",
    sources=(
        "https://code.djangoproject.com/ticket/21271",
        "cookiecutter/cookiecutter-django#2153",
    ),
)
def no_mail_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find SMTP without a timeout."""
    for django in projects(subject):
        if django.sends_by_smtp() and django.get("EMAIL_TIMEOUT") is None:
            yield at(django, f"EMAIL_TIMEOUT is None, and mail goes to {django.get('EMAIL_HOST')}")


@rule(
    "D08",
    Severity.WARNING,
    "Celery's broker has no socket_timeout: .delay() in a request may wait for ever",
    why=(
        "A task is sent to the broker in the request that calls `.delay()`. If Redis hangs, or "
        "the host is gone, that waits without a limit, and then tries again."
    ),
    bad={"django": 'CELERY_BROKER_URL = "redis://broker.example"\n'},
    good={
        "django": 'CELERY_BROKER_URL = "redis://broker.example"\n'
        "CELERY_BROKER_TRANSPORT_OPTIONS = {\n"
        '    "socket_timeout": 5, "socket_connect_timeout": 5\n}\n'
    },
    fix="Set CELERY_BROKER_TRANSPORT_OPTIONS = {'socket_timeout': 5, 'socket_connect_timeout': 5}.",
    sources=("celery/celery#2689", "celery/celery#4296", "celery/celery#6911"),
)
def slow_broker(subject: Subject) -> Iterator[Evidence]:
    """Find brokers on Redis without the option."""
    for django in projects(subject):
        url = str(django.get("CELERY_BROKER_URL"))
        options = django.get("CELERY_BROKER_TRANSPORT_OPTIONS") or {}
        if url.startswith(("redis", "sentinel")) and "socket_timeout" not in options:
            yield at(django, "CELERY_BROKER_TRANSPORT_OPTIONS has no socket_timeout")


@rule(
    "D09",
    Severity.WARNING,
    "a rotating log file in several processes loses lines",
    why=(
        "Each process rotates the file when it finds it too large: one renames it while the "
        "others go on writing into the renamed one, or rename the new one again. Lines are lost, "
        "and files end up in the wrong order."
    ),
    bad={"django": _logging("logging.handlers.RotatingFileHandler", ', "filename": "x"')},
    good={"django": _logging("logging.handlers.WatchedFileHandler", ', "filename": "x"')},
    fix="Use WatchedFileHandler and rotate with logrotate, or log to standard error.",
    sources=(
        "galaxyproject/galaxy#14625",
        "https://docs.python.org/3/howto/logging-cookbook.html",
    ),
)
def rotating_file(subject: Subject) -> Iterator[Evidence]:
    """Find handlers that rotate files."""
    for django in projects(subject):
        for name, handler in django.log_handlers():
            if _class(handler) in ROTATING:
                yield at(django, f"the log handler {name!r} is a {_class(handler)}")


@rule(
    "D10",
    Severity.WARNING,
    "a log handler sends over the network inside of requests",
    why=(
        "`HTTPHandler` and `SysLogHandler` over TCP send each record while the request waits, "
        "without a limit: if the receiver hangs, whatever logs an error hangs. `SMTPHandler` "
        "waits up to 5 s in each step."
    ),
    bad={"django": _logging("logging.handlers.HTTPHandler")},
    good={"django": _logging("logging.handlers.QueueHandler")},
    fix="Put a QueueHandler with a QueueListener in front of it.",
    sources=("logging.handlers of CPython", "https://code.djangoproject.com/ticket/21271"),
)
def logging_over_network(subject: Subject) -> Iterator[Evidence]:
    """Find such handlers; AdminEmailHandler is D01's."""
    for django in projects(subject):
        for name, handler in django.log_handlers():
            kind = _class(handler)
            by_tcp = kind == "SysLogHandler" and handler.get("socktype") == socket.SOCK_STREAM
            if kind in IN_REQUEST or by_tcp:
                severity = Severity.HINT if kind in LIMITED else None
                yield at(django, f"the log handler {name!r} is a {kind}", severity=severity)


def _class(handler: Mapping[str, Any]) -> str:
    return str(handler.get("class", "")).rpartition(".")[2]


@rule(
    "D16",
    Severity.HINT,
    "checks of the library are silenced",
    why=(
        "`SILENCED_SYSTEM_CHECKS` hides findings from everybody who runs `manage.py check`. "
        "Whether the reason still holds should be looked at now and then."
    ),
    bad={"django": 'SILENCED_SYSTEM_CHECKS = ["resilient_wsgi.W001"]\n'},
    good={"django": "SILENCED_SYSTEM_CHECKS = []\n"},
    fix="Remove it, or write the reason beside it.",
    sources=("https://docs.djangoproject.com/en/stable/ref/settings/#silenced-system-checks",),
)
def silenced(subject: Subject) -> Iterator[Evidence]:
    """Find ids of the library among the silenced checks."""
    for django in projects(subject):
        for each in django.get("SILENCED_SYSTEM_CHECKS"):
            if each.startswith("resilient_wsgi."):
                yield at(django, f"SILENCED_SYSTEM_CHECKS has {each}")


@rule(
    "D17",
    Severity.HINT,
    "requests have a deadline only under uWSGI with harakiri",
    why=(
        "Without a deadline a request that hangs outside of outbound HTTP (in a lock, a database, "
        "a loop) is neither logged nor ended. `harakiri` of uWSGI gives one; under gunicorn and "
        "the others nothing does."
    ),
    bad={"django": 'INSTALLED_APPS = ["resilient_wsgi.django"]\n'},
    good={
        "django": 'INSTALLED_APPS = ["resilient_wsgi.django"]\n'
        'RESILIENT_WSGI = {"REQUEST": {"TIMEOUT": 30}}\n'
    },
    fix="Set RESILIENT_WSGI = {'REQUEST': {'TIMEOUT': 30}}, or harakiri in uwsgi.ini.",
    sources=("docs/requests.md",),
)
def no_deadline(subject: Subject) -> Iterator[Evidence]:
    """Find a project with the library where neither the settings nor a uwsgi.ini give one."""
    kills = any(config.number("harakiri") for config in subject.uwsgi)
    for django in projects(subject):
        request = _section(django.get("RESILIENT_WSGI"), "REQUEST")
        given = request.get("TIMEOUT") or str(request.get("MODE")).lower() == "off"
        if APP in django.get("INSTALLED_APPS") and not given and not kills:
            yield at(
                django,
                "REQUEST.TIMEOUT is not set: requests have a deadline only under uWSGI with "
                "harakiri",
            )


def _section(settings: Any, name: str) -> Mapping[str, Any]:
    section: Mapping[str, Any] = (settings or {}).get(name) or {}
    return section


@rule(
    "D18",
    Severity.HINT,
    "resilient_wsgi.django is not the first of INSTALLED_APPS",
    why=(
        "Apps are set up in this order. What an app before it starts at its set-up, a thread or a "
        "call of an upstream, is not known to the library."
    ),
    bad={"django": 'INSTALLED_APPS = ["shop", "resilient_wsgi.django"]\n'},
    good={"django": 'INSTALLED_APPS = ["resilient_wsgi.django", "shop"]\n'},
    fix="Make it the first.",
    sources=("README.md",),
)
def not_first(subject: Subject) -> Iterator[Evidence]:
    """Compare its place with the first."""
    for django in projects(subject):
        apps = list(django.get("INSTALLED_APPS"))
        if APP in apps[1:]:
            yield at(django, f"{APP} comes after {apps[apps.index(APP) - 1]}")
