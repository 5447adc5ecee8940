"""No WSGI worker waits for ever: `install()` puts the components in place, `wrap()` the middleware around an app."""

from .errors import ConfigurationError, DeadlineExceeded
from .installation import Installation, install
from .readiness import load
from .stack import wrap
from .testing import off

__all__ = ["ConfigurationError", "DeadlineExceeded", "Installation", "install", "load", "off", "wrap"]
__version__ = "0.1.0"
