"""No WSGI worker waits for ever: `install()` puts the components in place, `wrap()` the middleware around an app.

Names are looked up when they are first used, because all of the library takes longer to import than a module that wants
only `resilient_wsgi.deadline` should have to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import deadline, errors, events, outbound, readiness, request, stderr, testing, threads
    from .errors import ConfigurationError, DeadlineExceeded
    from .installation import Installation, install
    from .readiness import load
    from .stack import wrap
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

# the module of each name that is not a module itself
_MODULES = {
    "ConfigurationError": "errors",
    "DeadlineExceeded": "errors",
    "Installation": "installation",
    "install": "installation",
    "load": "readiness",
    "off": "testing",
    "wrap": "stack",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    module = import_module(f".{_MODULES.get(name, name)}", __name__)
    value: object = getattr(module, name) if name in _MODULES else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
