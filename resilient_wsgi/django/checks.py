"""System checks: mistakes in the settings, components that could not be installed, a host whose
listen queues are short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning as CheckWarning

from .. import installation
from ..events.base import backlog_fix
from ..host.sockets import somaxconn
from ..settings import sources
from ..settings.options import OFF, PREFIX

if TYPE_CHECKING:
    from ..doctor.model import Location

IN_DJANGO = (
    f"Correct it in the dictionary {PREFIX} of Django's settings, or take it out: a server uses "
    "the default for it. "
    "docs/settings.md lists every option and what it takes."
)
IN_ENVIRONMENT = (
    "Correct or unset that variable where this process gets its environment; until then the "
    "default is used. "
    "docs/settings.md lists every option and what it takes."
)


def check_settings(app_configs: Any = None, **_: Any) -> List[CheckMessage]:
    """E001 for each mistake in Django's settings; W003 for those in the environment, which must not
    end a command.
    """
    del app_configs
    found = sources.find(django=getattr(settings, "RESILIENT_WSGI", {}))
    return [
        *(Error(mistake, hint=IN_DJANGO, id="resilient_wsgi.E001") for mistake in found.django),
        *(
            CheckWarning(mistake, hint=IN_ENVIRONMENT, id="resilient_wsgi.W003")
            for mistake in found.environment
        ),
    ]


def check_installation(app_configs: Any = None, **_: Any) -> List[CheckMessage]:
    """W001: the host limits listen queues; W002: a component that is on could not be installed."""
    del app_configs
    installed = installation.current()
    if installed is None:
        return []
    return [*_check_host(installed), *_check_components(installed)]


def check_deployment(app_configs: Any = None, **_: Any) -> List[CheckMessage]:
    """With `--deploy`: what the doctor finds in these settings, and in the files of the servers
    below the working directory, each under the doctor's code (`resilient_wsgi.D01`).
    """
    del app_configs
    from .deployment import findings

    kinds = {"error": Error, "warning": CheckWarning, "hint": Info}
    return [
        kinds[each.severity.value](
            f"{_place(each.location)}{each.message}",
            hint=f"{each.fix} ({each.url})",
            id=f"resilient_wsgi.{each.code}",
        )
        for each in findings()
    ]


def _place(location: Location) -> str:
    return f"{location.file}:{location.line}: " if location.line else ""


def _check_host(installed: installation.Installation) -> List[CheckMessage]:
    options, allowed = installed.settings.backlog, somaxconn()
    if options.mode == OFF or not allowed or allowed >= options.minimum:
        return []
    message = (
        f"net.core.somaxconn is {allowed} in this network namespace: no listen queue here can hold "
        "more connections, and "
        f"uWSGI refuses to start with a larger `listen`. BACKLOG.MINIMUM is {options.minimum}."
    )
    return [
        CheckWarning(
            message,
            hint=backlog_fix(allowed, options.minimum, allowed),
            id="resilient_wsgi.W001",
        )
    ]


def _check_components(installed: installation.Installation) -> List[CheckMessage]:
    # outside a server there are no listening sockets, no app to wait for, and output is never
    # dropped: that is no news
    expected = ("backlog", "readiness", "stderr", "threads")
    return [
        CheckWarning(
            f"{status.name} is not installed: {status.why_not}",
            hint=f"Switch it off with {status.name.upper()}.MODE = 'off' if that is intended.",
            id="resilient_wsgi.W002",
        )
        for status in installed.status()
        if not status.on and status.mode != OFF and status.name not in expected
    ]
