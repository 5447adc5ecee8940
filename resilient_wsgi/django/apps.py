"""Reads Django's settings and calls the core."""

from __future__ import annotations

import sys

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from .. import request
from ..installation import extend, install_for_django
from ..settings.options import ENFORCE, ON, Settings
from . import handler
from .checks import check_deadline, check_installation, check_settings


class ResilientConfig(AppConfig):
    """Installs every component that is on, and puts the middleware around Django's WSGI handler."""

    name = "resilient_wsgi.django"
    label = "resilient_wsgi"
    verbose_name = "resilient_wsgi"

    def ready(self) -> None:
        """Install.

        Mistakes in the settings are logged, and the defaults used: the system check lists them,
        too.
        """
        checks.register(check_settings, "resilient_wsgi")
        checks.register(check_installation, "resilient_wsgi")
        checks.register(check_deadline, "resilient_wsgi", deploy=True)
        if handler.expected():
            request.expect_apps()
        install_for_django(getattr(settings, "RESILIENT_WSGI", {}))
        extend(put, take)


def put(options: Settings) -> None:
    """Put in place, with the components, what is in Django: the middleware, and limits of
    statements where they are wanted.
    """
    take()
    if handler.wanted(options):
        handler.patch()
        if options.request.database_timeout == ON and options.request.mode == ENFORCE:
            from . import database

            database.install()


def take() -> None:
    """Take it away again."""
    handler.unpatch()
    database = sys.modules.get(f"{__package__}.database")
    if database is not None:
        database.uninstall()
