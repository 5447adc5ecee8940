"""What an app returned, with the request's deadline in force whenever the app's code runs in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, MutableMapping, Tuple, Type
from weakref import WeakKeyDictionary

from ..core.callers import calls_the_app
from ..deadline import replace
from .running import RequestDeadline, Slot

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# iterating over these runs no code of the app, and the server may know them by their type:
# uWSGI sends bytes as they are (plugins/python/wsgi_handlers.c, uwsgi_python_send_body)
_PLAIN = frozenset((
    list, tuple, bytes, bytearray, memoryview, str, dict, set, frozenset, bool, int, type(None),
))  # fmt: skip


def with_deadline(result: Any, environ: WSGIEnvironment, slot: Slot, request: RequestDeadline) -> Tuple[Any, bool]:
    """Return what the server gets for what the app returned, and whether the request is over.

    The very object is handed on where no code of the app is left to run, where the server knows it
    by its address (uWSGI: `async_sendfile == async_result` in plugins/python/wsgi_subhandler.c), or
    where it cannot be iterated over: then the request is over. A response of Django is handed on as
    well, and ends the request in its `close()`. For anything else there is a stand-in.
    """
    kind = type(result)
    if kind in _PLAIN or _is_file(result, environ) or not _iterable(kind):
        return result, True
    if _django_content(result):
        result.__dict__["close"] = _Close(result, slot, request)
        return result, False
    return _standing_for(kind)(result, slot, request), False


def _is_file(result: Any, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None:
        return False
    # uWSGI's is a function that gives back the file itself, the others' a class
    return isinstance(result, wrapper) if isinstance(wrapper, type) else hasattr(result, "read")


def _iterable(kind: Type[Any]) -> bool:
    """Return whether objects of this type give pieces: a buffer does, but servers send it whole."""
    return getattr(kind, "__iter__", None) is not None or hasattr(kind, "__getitem__")


def _django_content(result: Any) -> bool:
    """Return whether it is a response of Django with its content in memory."""
    attributes = getattr(result, "__dict__", None)
    return (
        attributes is not None
        and "_resource_closers" in attributes
        and "close" not in attributes
        and getattr(result, "streaming", True) is False
    )


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


class Body:
    """Stands for what the app returned: its type, its attributes, its methods, all but the address.

    Iterates and closes it as often and at the same time as the server does with this one.
    """

    __slots__ = ("_request", "_result", "_slot")

    def __init__(self, result: Any, slot: Slot, request: RequestDeadline) -> None:
        set_own = object.__setattr__
        set_own(self, "_result", result)
        set_own(self, "_slot", slot)
        set_own(self, "_request", request)

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
        if name in _OWN:  # not there yet: a copy is being made
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


# weak: an app may make its types anew in each request
_kinds: MutableMapping[Type[Any], Type[Body]] = WeakKeyDictionary()


def _standing_for(kind: Type[Any]) -> Type[Body]:
    """Return the class of stand-ins for objects of a type: it has the special methods of that type."""
    made = _kinds.get(kind)
    if made is None:
        base = _Iterator if hasattr(kind, "__next__") else Body
        special = {
            name: _forwarded(name) for name in _SPECIAL if getattr(kind, name, None) is not getattr(object, name, None)
        }
        special.setdefault("__hash__", object.__hash__)
        made = _kinds[kind] = type("Body", (base,), {"__slots__": (), **special})
    return made


def _forwarded(name: str) -> Any:
    @calls_the_app
    def method(self: Body, *arguments: Any) -> Any:
        result = self._result
        return getattr(type(result), name)(result, *arguments)

    method.__name__ = name
    return method
