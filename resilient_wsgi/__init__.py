"""No WSGI worker waits for ever: `install()` puts the components in place, `wrap()` the middleware around an app.

Each name is imported when it is first used: the exec probe of `readiness` is a new process every few seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ConfigurationError, DeadlineExceeded
    from .installation import Installation, install
    from .readiness import load
    from .stack import wrap
    from .testing import off

__all__ = ["ConfigurationError", "DeadlineExceeded", "Installation", "install", "load", "off", "wrap"]
__version__ = "0.1.0"

_HOMES = {
    "ConfigurationError": "errors",
    "DeadlineExceeded": "errors",
    "Installation": "installation",
    "install": "installation",
    "load": "readiness",
    "off": "testing",
    "wrap": "stack",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(importlib.import_module(f".{home}", __name__), name)
    return value
