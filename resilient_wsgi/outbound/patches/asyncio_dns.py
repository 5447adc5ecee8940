"""DNS on asyncio, for a call that has limits: in the helper threads of `resolver`.

A lookup of asyncio's own can be given up on, too, but its thread belongs to the event loop, and
`asyncio.run()` waits for it at its end: so would a view that `async_to_sync` runs.
"""

from __future__ import annotations

import copy
import functools
import socket
from typing import Any, Callable

from ...core.imports import when_imported
from ...core.patching import Patches
from .. import resolver
from ..exchange import active
from ..unpatched_socket import is_original

Method = Callable[..., Any]


def patch(patches: Patches) -> None:
    """Wrap the lookups of event loops, once asyncio is imported."""
    when_imported("asyncio.base_events", functools.partial(_patch, patches))


def _patch(patches: Patches, module: Any) -> None:
    patches.wrap(module.BaseEventLoop, "getaddrinfo", _getaddrinfo)


def _getaddrinfo(original: Method) -> Method:
    async def getaddrinfo(
        loop: Any,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's names
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        exchange = active.get()
        # of another task, too: a client may have one that looks up names for all
        limited = exchange is not None and exchange.dry_run is None
        if limited and is_original(socket.getaddrinfo):
            found = loop.create_future()
            question = (host, port, family, type, proto, flags)
            if resolver.begin(question, functools.partial(_hand_over, loop, found)):
                lookup = await found
                if lookup.answer is None:
                    raise copy.copy(lookup.error)
                return lookup.answer
        return await original(loop, host, port, family=family, type=type, proto=proto, flags=flags)

    return getaddrinfo


def _hand_over(loop: Any, found: Any, lookup: resolver.Lookup) -> None:
    """Give the answer to the loop, from the thread of the lookup; nobody may wait any more."""
    try:
        loop.call_soon_threadsafe(_set, found, lookup)
    except RuntimeError:  # the loop is closed
        return


def _set(found: Any, lookup: resolver.Lookup) -> None:
    if not found.done():
        found.set_result(lookup)
