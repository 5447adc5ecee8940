"""httpx, its synchronous client: one exchange over redirects, authentication and, unless it streams, the body."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from ...errors import DeadlineExceeded
from .. import call, native
from ..exchange import active
from ..native import TimedOut
from ..patching import Patches

MODULE = "httpx"


def patch(module: Any, patches: Patches) -> None:
    """Wrap the client, and what iterates over the body later."""
    translate = _translator(module)

    def send(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
        request = args[0] if args else kwargs["request"]
        timeout = request.extensions.get("timeout") or {}
        none_given = bool(timeout) and all(value is None for value in timeout.values())
        return call.around(
            lambda: wrapped(*args, **kwargs),
            (request.url.host, request.url.port),
            translate,
            none_given=none_given,
            streams=bool(kwargs.get("stream", False)),
            timeout_given=not none_given,
        )

    def send_single(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
        exchange = active.get()
        if exchange is None or exchange.report:
            return wrapped(*args, **kwargs)
        url = args[0].url
        exchange.visit((url.host, url.port))
        exchange.check("redirect")
        response = wrapped(*args, **kwargs)
        exchange.phase = "body"
        response.extensions["resilient_wsgi"] = exchange
        return response

    def iter_raw(wrapped: Callable[..., Any], response: Any, args: Any, kwargs: Any) -> Any:
        return _bounded(wrapped(*args, **kwargs), response, translate)

    patches.wrap(module.Client, "send", send)
    patches.wrap(module.Client, "_send_single_request", send_single)
    patches.wrap(module.Response, "iter_raw", iter_raw)


def _bounded(chunks: Any, response: Any, translate: call.Translate) -> Any:
    """Read the chunks within the response's exchange, whoever reads them."""
    exchange = response.extensions.get("resilient_wsgi")
    try:
        while True:
            # not for longer than one chunk: what the app does in between is no part of the exchange
            token = active.set(exchange) if exchange is not None else None
            try:
                chunk = next(chunks)
            except StopIteration:
                return
            finally:
                if token is not None:
                    active.reset(token)
            yield chunk
    except Exception as error:
        failure = exchange.failure if exchange is not None else None
        translated = translate(error, failure) if failure is not None else None
        if translated is None:
            raise
        raise translated from error
    finally:
        chunks.close()


def _translator(module: Any) -> call.Translate:
    kinds: Dict[str, Any] = {
        "dns": module.ConnectTimeout,
        "connect": module.ConnectTimeout,
        "tls": module.ConnectTimeout,
        "pool": module.PoolTimeout,
        "send": module.WriteTimeout,
    }

    def translate(error: Exception, failure: TimedOut) -> Optional[Exception]:
        if isinstance(error, DeadlineExceeded) and isinstance(error, module.RequestError):
            return None
        known = error.__dict__ if isinstance(error, module.RequestError) else {}
        attributes = {"_request": None, "phase": failure.phase, **known}
        return native.make((kinds.get(failure.phase, module.ReadTimeout),), str(failure), attributes)  # type: ignore[no-any-return]

    return translate
