"""requests and niquests: one exchange over redirects and, unless it streams, the body."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Callable, Dict, Optional

from ...core import composed
from ...core.patching import Patches
from .. import call, exceptions
from ..exceptions import TimedOut
from ..exchange import Exchange, active, as_number, is_none
from ..policy import guard, installed

Method = Callable[..., Any]

# requests passes "not given" on as None: an explicit None must be noted where the app gives it
_none_said: ContextVar[bool] = ContextVar("resilient_wsgi.outbound.none_said", default=False)
_TIMEOUT = 8  # the position in Session.request, its self not counted


def patch(module: Any, patches: Patches) -> None:
    """Wrap the session, and what iterates over the body later."""
    client = _Requests(module.exceptions)
    patches.wrap(module.sessions.Session, "request", _request)
    patches.wrap(module.sessions.Session, "send", client.send)
    patches.wrap(module.adapters.HTTPAdapter, "send", client.adapter_send)
    patches.wrap(module.models.Response, "iter_content", client.iter_content)


class _Requests:
    """The wrappers that need the exceptions of the requests that was imported."""

    def __init__(self, errors: Any) -> None:
        self._errors = errors
        self._kinds: Dict[str, Any] = dict.fromkeys(
            ("dns", "connect", "pool"), errors.ConnectTimeout
        )

    def translate(
        self, error: Exception, failure: TimedOut, _exchange: Exchange
    ) -> Optional[Exception]:
        """Return a timeout of requests' that is also ours: its own where it has raised one."""
        errors = self._errors
        kind = self._kinds.get(failure.phase, errors.ReadTimeout)
        if isinstance(error, errors.Timeout):
            exceptions.become(error, type(error), failure)
        elif isinstance(
            error, errors.ConnectionError
        ):  # as requests calls what times out in a body
            exceptions.become(error, kind, failure)
            return error  # type: ignore[no-any-return]
        elif not isinstance(error, errors.RequestException):
            return exceptions.instead(kind, failure, error, request=None, response=None)
        return None

    def adapter_send(self, original: Method) -> Method:
        """Begin the exchange where an adapter is called alone; have those who try again see
        timeouts of requests'.
        """

        def send(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                exchange = active.get()
                if exchange is not None:
                    return original(adapter, request, *args, **kwargs)
                streams = kwargs.get("stream", args[0] if args else False)
                timeout = kwargs.get("timeout", args[1] if len(args) > 1 else None)
                url = getattr(request, "url", None) or ""
                return call.around(
                    original, (adapter, request, *args), kwargs, url, self.translate,
                    streams=streams, method=getattr(request, "method", ""),
                    timeout_given=not installed.policy.notes_calls or _is_given(timeout),
                )  # fmt: skip
            except Exception as error:
                ours = (
                    None if exchange is None else call.translated(error, exchange, self.translate)
                )
                _add_request(ours or error, request)
                if ours is None:
                    raise
            raise ours

        return send

    def send(self, original: Method) -> Method:
        """One exchange over the redirects, each of which comes through here again."""

        def send(session: Any, request: Any, **kwargs: Any) -> Any:
            streams = kwargs.get("stream", session.stream)
            url = getattr(request, "url", None) or ""
            try:
                timeout = kwargs.get("timeout")
                return call.around(
                    original, (session, request), kwargs, url, self.translate, streams=streams,
                    method=getattr(request, "method", ""),
                    none_given=_none_said.get() if timeout is None else is_none(timeout),
                    timeout_given=not installed.policy.notes_calls or _is_given(timeout),
                )  # fmt: skip
            except composed.OURS as error:
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
            with guard:
                failure = exceptions.failure(error)
                if failure is not None and isinstance(error, self._errors.ConnectionError):
                    exceptions.become(error, type(error), failure)
                    _add_request(error, response.request)
            raise


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
    if isinstance(error, composed.OURS) and getattr(error, "request", None) is None:
        error.request = request  # type: ignore[union-attr]


def _is_given(timeout: Any) -> bool:
    if isinstance(timeout, tuple):
        return any(part is not None for part in timeout)
    return hasattr(timeout, "connect_timeout") or (as_number(timeout) or 0) > 0
