"""httpx and httpx2, their asynchronous clients: one exchange over redirects, authentication and,
unless it streams, the body.
"""

from __future__ import annotations

from typing import Any, Callable

from ...core.patching import Patches
from ...deadline import PASSED_ON, to_pass_on
from .. import call, call_async
from ..exceptions import TimedOut
from ..policy import guard, installed
from .httpx import EXTENSION, Httpx, timeouts_of

Method = Callable[..., Any]


def patch(module: Any, patches: Patches) -> None:
    """Wrap the client, and what iterates over the body later."""
    client = _AsyncHttpx(module)
    patches.wrap(module.AsyncClient, "send", client.send)
    patches.wrap(module.AsyncClient, "_send_single_request", client.send_single)
    patches.wrap(module.Response, "aiter_raw", client.aiter_raw)


class _AsyncHttpx(Httpx):
    def send(self, original: Method) -> Method:
        """One exchange over everything that one call sends."""

        async def send(client: Any, request: Any, **kwargs: Any) -> Any:
            timeout = timeouts_of(client, request)
            return await call_async.around(
                original, (client, request), kwargs, request.url, self.translate,
                none_given=timeout.get("read", 0) is None,
                timeout_given=not all(value is None for value in timeout.values()),
                streams=kwargs.get("stream", False),
                method=request.method,
            )  # fmt: skip

        return send

    def aiter_raw(self, original: Method) -> Method:
        """Read the chunks within the response's exchange, in any task and at any time."""

        def aiter_raw(response: Any, *args: Any, **kwargs: Any) -> Any:
            exchange = response.extensions.get(EXTENSION)
            chunks = original(response, *args, **kwargs)
            if exchange is None:
                return chunks
            return call_async.bounded(chunks, exchange, self.translate)

        return aiter_raw

    def send_single(self, original: Method) -> Method:
        """Begin with a hop of the exchange, and give the exchange to the response."""

        async def send_single(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            if installed.policy.pass_deadline:
                with guard:
                    left = to_pass_on()
                    if left is not None:
                        request.headers.setdefault(PASSED_ON, left)
            exchange = call_async.mine()
            if exchange is None:
                return await original(client, request, *args, **kwargs)
            try:
                call.admit(request.url)
            except TimedOut as failure:
                raise self._kind(str(failure), request=request) from failure
            response = await original(client, request, *args, **kwargs)
            exchange.phase = "body"
            response.extensions[EXTENSION] = exchange
            return response

        return send_single
