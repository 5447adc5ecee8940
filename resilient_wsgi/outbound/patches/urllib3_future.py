"""urllib3-future, which niquests brings along, and which takes the place of urllib3 on disk.

It has connections and responses of its own, so each call is given what is left as a timeout of its
own: for each address, and for each read. A total is kept over redirects, retries and their pauses,
but not over an answer that drips.
"""

from __future__ import annotations

import math
from typing import Any, Callable

from ...core.patching import Patches
from .. import exceptions
from ..exceptions import TimedOut
from ..exchange import Exchange, active, as_number
from ..policy import Limit
from .urllib3 import TIMEOUT, Urllib3, patch_retries

Method = Callable[..., Any]

_IN_PART = (
    "urllib3-future (niquests): the limits hold for each address and each read; a total ends "
    "neither DNS nor an answer that drips; asynchronous calls are not limited"
)


def patch(module: Any, patches: Patches) -> str:
    """Wrap managers, pools and retries; return what is not limited."""
    client = _Urllib3Future(module)
    patches.wrap(module.poolmanager.PoolManager, "urlopen", client.manager_urlopen)
    pool = module.connectionpool.HTTPConnectionPool
    patches.wrap(pool, "urlopen", lambda original: client.pool_urlopen(client.within(original)))
    patch_retries(module, patches, client)
    return _IN_PART


class _Urllib3Future(Urllib3):
    def __init__(self, module: Any) -> None:
        super().__init__(module.exceptions)
        self._module = module

    def within(self, original: Method) -> Method:
        """Give a try timeouts that keep to its exchange."""

        def urlopen(pool: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = active.get()
            # the answer to a call that is multiplexed is fetched later, from the pool
            if exchange is None or exchange.dry_run is not None or kwargs.get("multiplexed"):
                return original(pool, *args, **kwargs)
            own = pool._get_timeout(
                args[TIMEOUT] if len(args) > TIMEOUT else kwargs.get("timeout", pool.timeout)
            )
            try:
                bounded = self._bounded(exchange, own)
                if len(args) > TIMEOUT:
                    args = (*args[:TIMEOUT], bounded, *args[TIMEOUT + 1 :])
                else:
                    kwargs["timeout"] = bounded
                return original(pool, *args, **kwargs)
            except (self._errors.TimeoutError, self._errors.MaxRetryError) as error:
                self._note_limit(error, exchange, own)
                raise

        return urlopen

    def _bounded(self, exchange: Exchange, own: Any) -> Any:
        """Return the timeouts to make a call with."""
        read, connect = as_number(own.read_timeout), as_number(own.connect_timeout)
        if read is not None:
            exchange.stretch(read)
        left, limits = exchange.wait(math.inf), exchange.limits
        bounds = (
            min(left, limit.seconds if asked is None else asked)
            for asked, limit in ((connect, limits.connect), (read, limits.read))
        )
        connect, read = (None if seconds == math.inf else seconds for seconds in bounds)
        return self._module.Timeout(connect=connect, read=read)

    def _note_limit(self, error: Any, exchange: Exchange, own: Any) -> None:
        """Have the exception say which limit of ours is its reason, if one is."""
        reason = getattr(error, "reason", None) or error
        is_timeout = isinstance(reason, self._errors.TimeoutError)
        if not is_timeout or exceptions.failure(error) is not None:
            return
        connecting = isinstance(reason, self._errors.ConnectTimeoutError)
        exchange.phase = "connect" if connecting else "headers"
        asked = as_number(own.connect_timeout if connecting else own.read_timeout)
        limit = exchange.limits.connect if connecting else exchange.limits.read
        given = limit if asked is None else Limit(asked, "", "caller")
        found = exchange.give_up(exchange.why if exchange.expired() else given)
        if isinstance(found, TimedOut):
            reason.__dict__["limit"] = found
