"""What an app returned, with the request's deadline in force whenever the app's code runs in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, Tuple, Type
from weakref import ref

from ..core.app_entries import calls_the_app
from ..deadline import replace
from .running import RequestDeadline, Slot

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# iterating over these runs no code of the app, and the server may know them by their type:
# uWSGI sends bytes as they are (plugins/python/wsgi_handlers.c, uwsgi_python_send_body)
_PLAIN = (
    list, tuple, bytes, bytearray, memoryview, str, dict, set, frozenset, bool, int, type(None),
)  # fmt: skip


def with_deadline(
    result: Any, environ: WSGIEnvironment, slot: Slot, request: RequestDeadline
) -> Tuple[Any, bool]:
    """Return what the server gets for what the app has returned, and whether the request is over.

    The object itself is passed on if no code of the app is left to run, if the server knows it by
    its address (uWSGI: `async_sendfile == async_result` in plugins/python/wsgi_subhandler.c), or if
    it cannot be iterated over: then the request is over. A response of Django is passed on as well,
    and ends the request in its `close()`. Anything else is replaced by a stand-in.
    """
    kind = type(result)
    what = _kinds.get(id(kind), _UNKNOWN)
    if what is _UNKNOWN:
        what = _examine(kind)
    if what is None or _is_file(result, environ):
        return result, True
    if what is _Close:
        if "close" not in result.__dict__:
            result.__dict__["close"] = _Close(result, slot, request)
            return result, False
        what = _stand_in_class(kind)  # another request has the same response just now
    return _stand_in(what, result, slot, request), False


def _is_file(result: Any, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None:
        return False
    # uWSGI's is a function that gives back the file itself, the others' a class
    return isinstance(result, wrapper) if isinstance(wrapper, type) else hasattr(result, "read")


def _in_memory(kind: Type[Any]) -> bool:
    """Return whether it is the type of Django's responses with their content in memory."""
    return getattr(kind, "streaming", None) is False and hasattr(kind, "make_bytes")


class _Close:
    """The `close()` of a response in memory, in its request, which ends with it. Used once."""

    __slots__ = ("_request", "_response", "_slot")

    def __init__(self, response: Any, slot: Slot, request: RequestDeadline) -> None:
        self._response = response
        self._slot = slot
        self._request = request

    @calls_the_app
    def __call__(self) -> object:
        response, before = self._response, replace(self._request)
        response.__dict__.pop("close", None)  # it refers to the response, and so to itself
        try:
            return response.close()
        finally:
            self._slot.finish(self._request)
            replace(before)


_OWN = frozenset(("_result", "_slot", "_request"))
# the interpreter looks these up on the type, not as attributes
_SPECIAL = (
    "__len__", "__length_hint__", "__bool__", "__contains__", "__getitem__", "__setitem__",
    "__delitem__", "__reversed__", "__bytes__", "__enter__", "__exit__", "__aiter__", "__anext__",
    "__await__", "__fspath__", "__add__", "__eq__", "__hash__", "__lt__", "__str__", "__call__",
)  # fmt: skip


class _Slots:
    """What a stand-in holds. It is made as one of these: its attributes are its result's."""

    __slots__ = ("_request", "_result", "_slot")

    _request: RequestDeadline
    _result: Any
    _slot: Slot


class Body(_Slots):
    """Stands for what the app has returned: its type, attributes and methods, all but the address.

    Iterates over it and closes it as often, and when, the server does so with this one.
    """

    __slots__ = ()

    @calls_the_app
    def __iter__(self) -> Iterator[bytes]:
        before = replace(self._request)
        try:
            iterator = iter(self._result)
        finally:
            replace(before)
        if iterator is self._result:
            return self
        return _Pieces(iterator, self._request)

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

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self._result, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._result, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._result, name)

    def __dir__(self) -> Any:
        return dir(self._result)

    def __repr__(self) -> str:
        return repr(self._result)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._result.__reduce_ex__(protocol)

    @property
    def __class__(self) -> Any:
        """Return the type of what it stands for: for `isinstance`."""
        return type(self._result)

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        self._result.__class__ = kind


class _Iterator(Body):
    """Stands for an iterator."""

    __slots__ = ()

    @calls_the_app
    def __next__(self) -> bytes:
        before = replace(self._request)
        try:
            piece: bytes = next(self._result)
        finally:
            replace(before)
        return piece


class _Pieces:
    """An iterator over a response, with the request's deadline in force while it works."""

    __slots__ = ("_iterator", "_request")

    def __init__(self, iterator: Iterator[bytes], request: RequestDeadline) -> None:
        self._iterator = iterator
        self._request = request

    def __iter__(self) -> _Pieces:
        return self

    @calls_the_app
    def __next__(self) -> bytes:
        before = replace(self._request)
        try:
            return next(self._iterator)
        finally:
            replace(before)

    def __getattr__(self, name: str) -> Any:
        if name in self.__slots__:
            raise AttributeError(name)
        return getattr(self._iterator, name)


_UNKNOWN = object()
# by the id of a result's type: the class of its stand-in, _Close, or None for what is passed on.
# The types are not kept alive: an app may make one in each request, with closures over it
_kinds: Dict[int, Any] = dict.fromkeys(map(id, _PLAIN))
_alive: Dict[int, ref[Any]] = {}


def _examine(kind: Type[Any]) -> Any:
    """Return what to do with results of a type, and remember it as long as the type lives."""
    if _in_memory(kind):
        what: Any = _Close
    elif getattr(kind, "__iter__", None) is None and not hasattr(kind, "__getitem__"):
        what = None
    else:
        what = _stand_in_class(kind)
    key = id(kind)

    def forget(_: Any) -> None:
        _kinds.pop(key, None)
        _alive.pop(key, None)

    _alive[key] = ref(kind, forget)
    _kinds[key] = what
    return what


def _stand_in(made: Type[Body], result: Any, slot: Slot, request: RequestDeadline) -> Any:
    body = _Slots()
    body._result = result  # noqa: SLF001
    body._slot = slot  # noqa: SLF001
    body._request = request  # noqa: SLF001
    body.__class__ = made
    return body


def _stand_in_class(kind: Type[Any]) -> Type[Body]:
    """Return the class of stand-ins for a type, with the special methods of that type."""
    base = _Iterator if hasattr(kind, "__next__") else Body
    special = {
        name: _forwarded(name)
        for name in _SPECIAL
        if getattr(kind, name, None) is not getattr(object, name, None)
    }
    special.setdefault("__hash__", object.__hash__)
    return type("Body", (base,), {"__slots__": (), **special})


def _forwarded(name: str) -> Any:
    @calls_the_app
    def method(self: Body, *arguments: Any) -> Any:
        result = self._result
        return getattr(type(result), name)(result, *arguments)

    method.__name__ = name
    return method
