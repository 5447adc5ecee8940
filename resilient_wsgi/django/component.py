"""What is put in place in Django itself: the middleware around its WSGI handler, and limits of
statements where they are wanted.
"""

from __future__ import annotations

import sys
from typing import Sequence

from ..component import Component
from ..readiness.checks import framework_problems
from ..settings.options import ENFORCE, OFF, Settings
from . import handler, readiness


class Django(Component[Settings]):
    """The front door of a Django project: takes part in each installation, with all settings."""

    name = "django"

    def install(self, options: Settings) -> Sequence[str]:
        """Put the middleware around Django's handler, if any component is on, and limit statements
        if REQUEST.DATABASE_TIMEOUT has it.
        """
        self.uninstall()
        framework_problems["django"] = readiness.urlconf_problem
        if not handler.wanted(options):
            return ()
        handler.patch(self.context.patches)
        if options.request.mode != OFF and handler.expected():
            from ..request.component import Request

            Request.here().expect_apps()
        if options.request.mode == ENFORCE and options.request.database_timeout:
            from . import database

            database.install()
        return ("django.core.handlers.wsgi.WSGIHandler",)

    def uninstall(self) -> None:
        """Have the handler called directly, and limit no more statements."""
        super().uninstall()
        database = sys.modules.get(f"{__package__}.database")
        if database is not None:
            database.uninstall()
