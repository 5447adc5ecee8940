"""The iterable of a response, with the request's deadline in force whenever the app's code runs in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator

from ..deadline import Deadline, replace

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def with_deadline(result: Iterable[bytes], deadline: Deadline, environ: WSGIEnvironment) -> Iterable[bytes]:
    """Return an iterable under whose iteration and `close()` the deadline holds.

    Lists and tuples have no code to run. What came from `wsgi.file_wrapper` is returned untouched: the server sends it
    by itself, and uWSGI knows it by its address (plugins/python/wsgi_subhandler.c, `async_sendfile == async_result`).
    """
    if type(result) in (list, tuple) or _is_file(result, environ):
        return result
    return Body(result, deadline)


def _is_file(result: Any, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None:
        return False
    # uWSGI's is a function that gives back the file itself, the others' a class
    return isinstance(result, wrapper) if isinstance(wrapper, type) else hasattr(result, "read")


class Body:
    """Iterate as the app's iterable does, and close it when the server closes us: as often as it does, at the same time."""

    __slots__ = ("_deadline", "_iterator", "_result")

    def __init__(self, result: Iterable[bytes], deadline: Deadline) -> None:
        self._result = result
        self._deadline = deadline
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        before = replace(self._deadline)
        try:
            if self._iterator is None:
                self._iterator = iter(self._result)
            return next(self._iterator)
        finally:
            replace(before)

    def close(self) -> None:
        """Close the app's iterable, if it can be closed."""
        close = getattr(self._result, "close", None)
        if close is None:
            return
        before = replace(self._deadline)
        try:
            close()
        finally:
            replace(before)
