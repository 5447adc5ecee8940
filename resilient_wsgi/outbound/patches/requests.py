"""requests: one exchange over redirects and, unless it streams, the body."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Callable, Dict, Optional, Tuple

from ...core.patching import Patches
from ...errors import DeadlineExceeded
from .. import call, native, policy
from ..exchange import active, as_number, is_none
from ..native import TimedOut

MODULE = "requests"

Method = Callable[..., Any]

# requests hands "not given" on as None: whether it was said must be noted where it is said
_none_said: ContextVar[bool] = ContextVar("resilient_wsgi.outbound.none_said", default=False)
_TIMEOUT = 8  # the position in Session.request, its self not counted


def patch(module: Any, patches: Patches) -> None:
    """Wrap the session, and what iterates over the body later."""
    client = _Requests(module.exceptions)
    patches.wrap(module.sessions.Session, "request", _request)
    patches.wrap(module.sessions.Session, "send", client.send)
    patches.wrap(module.models.Response, "iter_content", client.iter_content)


class _Requests:
    """The wrappers that need the exceptions of the requests that was imported."""

    def __init__(self, errors: Any) -> None:
        self._errors = errors
        connecting = (errors.ConnectTimeout,)
        # requests itself raises a ConnectionError that is no Timeout for what times out here
        transferring = (errors.ReadTimeout, errors.ConnectionError)
        self._kinds: Dict[str, Tuple[Any, ...]] = {
            "dns": connecting,
            "connect": connecting,
            "tls": (errors.ReadTimeout, errors.ConnectTimeout),  # requests itself calls it the former
            "pool": connecting,
            "send": transferring,
            "body": transferring,
        }

    def translate(self, error: Exception, failure: TimedOut) -> Optional[Exception]:
        """Return a timeout of requests' that is also ours."""
        if isinstance(error, DeadlineExceeded) and isinstance(error, self._errors.RequestException):
            return None
        wanted = self._kinds.get(failure.phase, (self._errors.ReadTimeout,))
        attributes = {"request": None, "response": None, "phase": failure.phase}
        known = error.__dict__ if isinstance(error, self._errors.RequestException) else {}
        return native.instead_of(error, failure, wanted, {**attributes, **known})  # type: ignore[no-any-return]

    def send(self, original: Method) -> Method:
        """One exchange over the redirects, each of which comes through here again."""

        def send(session: Any, request: Any, **kwargs: Any) -> Any:
            streams = kwargs.get("stream", session.stream)
            url = getattr(request, "url", None) or ""
            try:
                timeout = kwargs.get("timeout")
                return call.around(
                    original, (session, request), kwargs, url, self.translate, streams=streams,
                    none_given=_none_said.get() if timeout is None else is_none(timeout),
                    timeout_given=not policy.policy.curious or _is_given(timeout),
                )  # fmt: skip
            except DeadlineExceeded as error:
                _add_request(error, request)
                raise

        return send

    def iter_content(self, original: Method) -> Method:
        """Have what times out while a streamed body is read be both kinds of exception."""

        def iter_content(response: Any, *args: Any, **kwargs: Any) -> Any:
            chunks = original(response, *args, **kwargs)
            return chunks if active.get() is not None else self._bounded(chunks, response)

        return iter_content

    def _bounded(self, chunks: Any, response: Any) -> Any:
        try:
            yield from chunks
        except Exception as error:
            cause = error.args[0] if error.args else None
            failure = getattr(cause, "reason", cause)
            translated = self.translate(error, failure) if isinstance(failure, TimedOut) else None
            if translated is None:
                raise
            _add_request(translated, response.request)
            raise translated from error


def _request(original: Method) -> Method:
    def request(session: Any, *args: Any, **kwargs: Any) -> Any:
        if (args[_TIMEOUT] if len(args) > _TIMEOUT else kwargs.get("timeout", 0)) is not None:
            return original(session, *args, **kwargs)
        token = _none_said.set(True)
        try:
            return original(session, *args, **kwargs)
        finally:
            _none_said.reset(token)

    return request


def _add_request(error: Any, request: Any) -> None:
    if getattr(error, "request", None) is None:
        error.request = request


def _is_given(timeout: Any) -> bool:
    if isinstance(timeout, tuple):
        return any(part is not None for part in timeout)
    return hasattr(timeout, "connect_timeout") or (as_number(timeout) or 0) > 0
