"""httpx and httpx2, their synchronous clients: one exchange over redirects, authentication and,
unless it streams, the body.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from ...core.patching import Patches
from ...deadline import PASSED_ON, to_pass_on
from .. import call, exceptions
from ..exceptions import TimedOut
from ..exchange import Exchange, active
from ..policy import guard, installed

Method = Callable[..., Any]

EXTENSION = "resilient_wsgi.exchange"
"""The key of a response's exchange among its extensions."""


def patch(module: Any, patches: Patches) -> None:
    """Wrap the client, and what iterates over the body later."""
    client = _SyncHttpx(module)
    patches.wrap(module.Client, "send", client.send)
    patches.wrap(module.Client, "_send_single_request", client.send_single)
    patches.wrap(module.Response, "iter_raw", client.iter_raw)


class Httpx:
    """What both clients raise, of the httpx that was imported."""

    def __init__(self, module: Any) -> None:
        self._http_error = module.HTTPError
        self._timeout = module.TimeoutException
        self._kind = module.ReadTimeout
        self._kinds: Dict[str, Any] = {
            "dns": module.ConnectTimeout,
            "connect": module.ConnectTimeout,
            "tls": module.ConnectTimeout,
            "pool": module.PoolTimeout,
            "send": module.WriteTimeout,
        }

    def translate(
        self, error: Exception, failure: TimedOut, _exchange: Exchange
    ) -> Optional[Exception]:
        """Return a timeout of httpx's that is also ours."""
        if isinstance(error, self._timeout):
            exceptions.become(error, type(error), failure)
            return None
        if isinstance(error, self._http_error):
            return None
        kind = self._kinds.get(failure.phase, self._kind)
        return exceptions.instead(kind, failure, error, _request=None)


class _SyncHttpx(Httpx):
    def send(self, original: Method) -> Method:
        """One exchange over everything that one call sends."""

        def send(client: Any, request: Any, **kwargs: Any) -> Any:
            timeout = timeouts_of(client, request)
            return call.around(
                original, (client, request), kwargs, request.url, self.translate,
                none_given=timeout.get("read", 0) is None,
                timeout_given=not all(value is None for value in timeout.values()),
                streams=kwargs.get("stream", False),
                method=request.method,
            )  # fmt: skip

        return send

    def iter_raw(self, original: Method) -> Method:
        """Read the chunks within the response's exchange, in any thread and at any time."""

        def iter_raw(response: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = response.extensions.get(EXTENSION)
            chunks = original(response, *args, **kwargs)
            return chunks if exchange is None else self._bounded(chunks, exchange)

        return iter_raw

    def _bounded(self, chunks: Any, exchange: Any) -> Any:
        try:
            while True:
                # not for longer than one chunk: what the app does in between is no part of the
                # exchange
                token = active.set(exchange)
                again = exchange.away
                if again:
                    exchange.resume()
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
                finally:
                    active.reset(token)
                    if again:
                        exchange.pause()
                yield chunk
        except Exception as error:
            ours = call.translated(error, exchange, self.translate)
            if ours is None:
                raise
            raise ours from None
        finally:
            chunks.close()
            call.observe_body(exchange)

    def send_single(self, original: Method) -> Method:
        """Begin with a hop of the exchange, and give the exchange to the response."""

        def send_single(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            if installed.policy.pass_deadline:
                with guard:
                    left = to_pass_on()
                    if left is not None:
                        request.headers.setdefault(PASSED_ON, left)
            exchange = active.get()
            if exchange is None:
                return original(client, request, *args, **kwargs)
            try:
                call.admit(request.url)
            except TimedOut as failure:
                raise self._kind(str(failure), request=request) from failure
            response = original(client, request, *args, **kwargs)
            exchange.answer()
            response.extensions[EXTENSION] = exchange
            return response

        return send_single


def timeouts_of(client: Any, request: Any) -> Dict[str, Optional[float]]:
    """Return the four timeouts that a request is going to be sent with, by name."""
    timeout: Optional[Dict[str, Optional[float]]] = request.extensions.get("timeout")
    # of a request that was built by hand: newer versions put the client's there
    if timeout is None:
        timeout = client.timeout.as_dict() if hasattr(client, "_set_timeout") else {}
    return timeout
