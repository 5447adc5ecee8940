"""Installs the library in every process of another project's test suite, its children too, where
PEERS_LIBRARY is on.
"""

from __future__ import annotations

import os
import traceback


def install() -> None:
    import resilient_wsgi
    from resilient_wsgi.core.imports import when_imported

    def patch_handler(_module: object) -> None:
        """Do what the AppConfig does: the settings of Django's own suite do not name it."""
        from resilient_wsgi.core.patching import Patches
        from resilient_wsgi.django import handler

        handler.patch(Patches())

    resilient_wsgi.install()
    if os.environ.get("PEERS_DEADLINE"):
        resilient_wsgi.deadline.limit(float(os.environ["PEERS_DEADLINE"])).__enter__()
    when_imported("django.core.handlers.wsgi", patch_handler)


if os.environ.get("PEERS_LIBRARY") == "on":
    try:
        install()
    except BaseException:  # else the interpreter prints it and goes on without
        traceback.print_exc()
        os._exit(70)
