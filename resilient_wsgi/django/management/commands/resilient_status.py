"""`manage.py resilient_status`: what is installed, by which means, and why not."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from .... import installation


class Command(BaseCommand):
    """Print one line for each component."""

    help = "Says of each component of resilient_wsgi whether it is on, by which means, and why not."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the status of the installation in this process."""
        del args, options
        installed = installation.current()
        if installed is None:
            self.stdout.write("resilient_wsgi is not installed: its settings have mistakes, see manage.py check")
            return
        for status in installed.status():
            self.stdout.write(str(status))
