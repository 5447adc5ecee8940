"""requests: one exchange over redirects and, unless it streams, the body."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Callable, Dict, Optional, Tuple

from ...errors import DeadlineExceeded
from .. import call, native
from ..exchange import active, as_number
from ..native import TimedOut
from ..patching import Patches

MODULE = "requests"

# requests hands "not given" on as None: whether it was said must be noted where it is said
_omitted: ContextVar[bool] = ContextVar("resilient_wsgi.outbound.timeout_omitted", default=False)


def patch(module: Any, patches: Patches) -> None:
    """Wrap the session, and what iterates over the body later."""
    translate = _translator(module.exceptions)

    def send(wrapped: Callable[..., Any], session: Any, args: Any, kwargs: Any) -> Any:
        request = args[0] if args else kwargs.get("request")
        timeout = kwargs.get("timeout", 0)
        return call.around(
            lambda: wrapped(*args, **kwargs),
            getattr(request, "url", None) or "",
            translate_for(request),
            none_given=timeout is None and not _omitted.get(),
            streams=bool(kwargs.get("stream", session.stream)),
            timeout_given=_is_given(timeout),
        )

    def translate_for(request: Any) -> call.Translate:
        def with_request(error: Exception, failure: TimedOut) -> Optional[Exception]:
            translated = translate(error, failure)
            if translated is not None and getattr(translated, "request", None) is None:
                translated.request = request  # type: ignore[attr-defined]
            return translated

        return with_request

    def iter_content(wrapped: Callable[..., Any], response: Any, args: Any, kwargs: Any) -> Any:
        chunks = wrapped(*args, **kwargs)
        return _bounded(chunks, translate_for(response.request)) if active.get() is None else chunks

    patches.wrap(module.sessions.Session, "request", _request)
    patches.wrap(module.sessions.Session, "send", send)
    patches.wrap(module.models.Response, "iter_content", iter_content)


def _request(wrapped: Callable[..., Any], session: Any, args: Any, kwargs: Any) -> Any:
    token = _omitted.set("timeout" not in kwargs and len(args) < 9)
    try:
        return wrapped(*args, **kwargs)
    finally:
        _omitted.reset(token)


def _bounded(chunks: Any, translate: call.Translate) -> Any:
    try:
        yield from chunks
    except Exception as error:
        cause = error.args[0] if error.args else None
        failure = getattr(cause, "reason", cause)
        translated = translate(error, failure) if isinstance(failure, TimedOut) else None
        if translated is None:
            raise
        raise translated from cause


def _is_given(timeout: Any) -> bool:
    if isinstance(timeout, tuple):
        return any(part is not None for part in timeout)
    return hasattr(timeout, "connect_timeout") or (as_number(timeout) or 0) > 0


def _translator(errors: Any) -> call.Translate:
    kinds: Dict[str, Tuple[Any, ...]] = {
        "dns": (errors.ConnectTimeout,),
        "connect": (errors.ConnectTimeout,),
        "tls": (errors.ConnectTimeout,),
        "pool": (errors.ConnectTimeout,),
        # requests itself raises a ConnectionError, that is no Timeout, for what times out here
        "send": (errors.ReadTimeout, errors.ConnectionError),
        "body": (errors.ReadTimeout, errors.ConnectionError),
    }

    def translate(error: Exception, failure: TimedOut) -> Optional[Exception]:
        if isinstance(error, DeadlineExceeded) and isinstance(error, errors.RequestException):
            return None
        wanted = kinds.get(failure.phase, (errors.ReadTimeout,))
        attributes = {"request": None, "response": None, "phase": failure.phase}
        known = error.__dict__ if isinstance(error, errors.RequestException) else {}
        return native.make(wanted, str(failure), {**attributes, **known})  # type: ignore[no-any-return]

    return translate
