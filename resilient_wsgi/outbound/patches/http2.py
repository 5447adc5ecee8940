"""HTTP/2 in httpcore and httpcore2: a connection that several calls share is not ended for the
others when a limit of ours ends one of them.

httpcore remembers what ended a read, and raises it in every call on that connection. That is right
for an error of the connection; here it was only the time of one call that was up, and nothing that
the others wait for is lost. The connection takes no new calls, as after any error, and is closed
when the last one is over.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

from ...core.patching import Patches
from .. import exceptions
from ..policy import guard

Method = Callable[..., Any]

_CLASSES = (("_sync", "HTTP2Connection"), ("_async", "AsyncHTTP2Connection"))
_NAME = "_read_incoming_data"


def patch(module: Any, patches: Patches) -> None:
    """Wrap the reading of connections, if httpcore has found the package `h2`."""
    wrappers = (_read, _read_async)
    for (package, name), wrapper in zip(_CLASSES, wrappers):
        loaded = sys.modules.get(f"{module.__name__}.{package}.http2")
        if loaded is not None:
            patches.wrap(getattr(loaded, name), _NAME, wrapper)


def _read(original: Method) -> Method:
    def read(connection: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(connection, *args, **kwargs)
        except Exception as error:
            _forget(connection, error)
            raise

    return read


def _read_async(original: Method) -> Method:
    async def read(connection: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await original(connection, *args, **kwargs)
        except Exception as error:
            _forget(connection, error)
            raise

    return read


def _forget(connection: Any, error: Exception) -> None:
    """Have the connection not raise this again; the caller holds the lock on its reads."""
    with guard:
        if connection._read_exception is error and exceptions.failure(error) is not None:
            connection._read_exception = None
