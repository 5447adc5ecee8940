"""The iterable of a response, with the request's deadline in force whenever the app's code runs in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator, Optional

from ..core.callers import calls_the_app
from ..deadline import replace
from .running import RequestDeadline, Slot

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def with_deadline(
    result: Iterable[bytes],
    environ: WSGIEnvironment,
    slot: Slot,
    request: RequestDeadline,
) -> Iterable[bytes]:
    """Return an iterable under whose iteration and `close()` the deadline holds, and after which the request is over.

    Lists and tuples have no code to run. What came from `wsgi.file_wrapper` is returned untouched: the server sends it
    by itself, and uWSGI knows it by its address (plugins/python/wsgi_subhandler.c, `async_sendfile == async_result`).
    """
    if type(result) in (list, tuple) or _is_file(result, environ):
        return result
    return Body(result, slot, request)


def _is_file(result: Any, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None:
        return False
    # uWSGI's is a function that gives back the file itself, the others' a class
    return isinstance(result, wrapper) if isinstance(wrapper, type) else hasattr(result, "read")


class Body:
    """Iterate as the app's iterable does, and close it when the server closes us: as often as it does, at the same time."""

    __slots__ = ("_iterator", "_request", "_result", "_slot")

    def __init__(self, result: Iterable[bytes], slot: Slot, request: RequestDeadline) -> None:
        self._result = result
        self._slot = slot
        self._request = request
        self._iterator: Optional[Iterator[bytes]] = None

    def __iter__(self) -> Body:
        return self

    @calls_the_app
    def __next__(self) -> bytes:
        before = replace(self._request)
        try:
            if self._iterator is None:
                self._iterator = iter(self._result)
            return next(self._iterator)
        finally:
            replace(before)

    @calls_the_app
    def close(self) -> None:
        """Close the app's iterable, if it can be closed."""
        before = replace(self._request)
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            self._slot.finish(self._request)
            replace(before)
