"""`manage.py resilient_status`: what these settings put in place, how, and why not, in the process
of the command.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from .... import installation

OWN_PROCESS = (
    "this is manage.py's own process; for a running instance see the line that it logged at "
    "startup, "
    "or `resilient-wsgi status PID`"
)


class Command(BaseCommand):
    """Print one line for each component."""

    help = (
        "Shows which components of resilient_wsgi are active in manage.py's own process, and how."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the status of the installation in this process."""
        del args, options
        self.stdout.write(OWN_PROCESS)
        installed = installation.current()
        if installed is None:
            self.stdout.write(
                "resilient_wsgi is not installed: its settings have mistakes, see manage.py check"
            )
            return
        for status in installed.status():
            self.stdout.write(str(status))
