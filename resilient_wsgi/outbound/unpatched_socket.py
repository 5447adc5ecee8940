"""Whether `socket` is the interpreter's own, or a guard, a test or the app has replaced a part of
it.

What was replaced is called, in its own way: it may refuse a connection, record it, or make another
one.
"""

from __future__ import annotations

import _socket
import socket
from typing import Any


def is_original(function: Any) -> bool:
    """Tell whether a function is one of `socket`'s own, or gevent's in its place, which waits
    cooperatively.
    """
    # by where it was defined: the library may be imported after the function was replaced
    if getattr(function, "__globals__", None) is vars(socket):
        return True
    return str(getattr(function, "__module__", "")).startswith("gevent.")


def is_clients_own(function: Any, module: str) -> bool:
    """Tell whether a function is the one that a client has defined, not a replacement."""
    return getattr(function, "__globals__", {}).get("__name__") == module


def connects_natively() -> bool:
    """Tell whether a new socket connects by the interpreter's own `connect`.

    Those of PySocks or gevent do not, nor those whose `connect` a guard has replaced
    (pytest-socket's list of hosts, one against SSRF): it has to be asked, and may expect to block.
    """
    kind: Any = socket.socket
    return kind.__module__ == "socket" and kind.connect is _socket.socket.connect
