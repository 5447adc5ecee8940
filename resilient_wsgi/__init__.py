"""No WSGI worker waits for ever: `install()` puts the components in place, `wrap()` the middleware
around an app.

Names are looked up when they are first used, because all of the library takes longer to import than
a module that wants only `resilient_wsgi.deadline` should have to wait.
"""

from __future__ import annotations

from .core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import deadline, errors, events, outbound, readiness, request, stderr, testing, threads
    from .app import load, wrap
    from .errors import ConfigurationError, DeadlineExceeded
    from .installation import Installation, install
    from .testing import off

__all__ = [
    "ConfigurationError",
    "DeadlineExceeded",
    "Installation",
    "deadline",
    "errors",
    "events",
    "install",
    "load",
    "off",
    "outbound",
    "readiness",
    "request",
    "stderr",
    "testing",
    "threads",
    "wrap",
]
__version__ = "0.1.0"

__getattr__ = names(
    __name__,
    {
        **dict.fromkeys(__all__, ""),
        "ConfigurationError": "errors",
        "DeadlineExceeded": "errors",
        "Installation": "installation",
        "install": "installation",
        "load": "app",
        "off": "testing",
        "wrap": "app",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
