"""Reads Django's settings and installs what they say."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from ..installation import install_for_django
from .checks import check_deployment, check_installation, check_settings
from .component import Django


class ResilientConfig(AppConfig):
    """Installs every component that is on, and puts the middleware around Django's WSGI handler."""

    name = "resilient_wsgi.django"
    label = "resilient_wsgi"
    verbose_name = "resilient_wsgi"

    def ready(self) -> None:
        """Install every component that is on, with the settings of the project.

        Mistakes in them are logged, and the defaults used: the system check lists them, too.
        """
        checks.register(check_settings, "resilient_wsgi")
        checks.register(check_installation, "resilient_wsgi")
        checks.register(check_deployment, "resilient_wsgi", deploy=True)
        install_for_django(getattr(settings, "RESILIENT_WSGI", {}), Django.here())
