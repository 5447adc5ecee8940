"""The library as an app has it, which says who it is whenever a hook calls it."""

from resilient_wsgi import install, wrap

__all__ = ["wrap"]

install()

from tests.servers.apps import hooks_master  # noqa: E402, F401
