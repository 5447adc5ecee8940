"""Replace functions and methods reversibly, even if other libraries wrap the same ones before or
after.

Replacements are plain functions rather than wrapt's wrappers, which cost three times as much in
each call (measured: 6 200 instructions against 2 100): a dozen of them stand in the way of every
outbound call.
"""

from __future__ import annotations

import functools
from types import FunctionType
from typing import Any, Callable, List

Call = Callable[..., Any]
Make = Callable[[Call], Call]

_MARK = "__resilient_wsgi__"
_LONGEST_CHAIN = 32


class Patches:
    """The replacements of one component.

    `restore` takes away those that are on top. One that other code has wrapped since cannot be
    taken away without taking theirs, too: it stays beneath and passes everything through.

    With `passing`, the replacements do the latter by themselves while their component is off. They
    are put in place as they are then, without a switch in front, which would be a call in each
    call.
    """

    def __init__(self, *, passing: bool = False) -> None:
        self._passing = passing
        self._made: List[_Patch] = []

    def __repr__(self) -> str:
        return f"<Patches {' '.join(patch.label for patch in self._made) or 'none'}>"

    def wrap(self, owner: Any, name: str, make: Make) -> None:
        """Replace `owner.name`, of a class or a module, by `make(original)`.

        `original` takes the instance first where the owner is a class, also where it is not a
        function but a tracer's descriptor, which has to be bound to see its instance. A method that
        is inherited is overridden in `owner` and looked up again in each call, for those who patch
        the base later. Nothing happens where the name does not exist, or one of these patches is
        at work there or in the class that the name is inherited from.
        """
        known = next((patch for patch in self._made if patch.is_at(owner, name)), None)
        if known is not None:
            if known.resume(make):
                return
            self._made.remove(known)
        patch = _Patch.of(owner, name, self._passing)
        if patch is None or (patch.inherits and self._covers(owner, name)):
            return
        patch.put(make)
        self._made.append(patch)

    def restore(self) -> None:
        """Undo everything, the latest first.

        What had to stay beneath a later patch is remembered, so that wrapping it again revives it.
        """
        self._made = [patch for patch in reversed(self._made) if not patch.undo()][::-1]

    def _covers(self, owner: Any, name: str) -> bool:
        home = next((base for base in owner.__mro__ if name in vars(base)), None)
        return any(patch.is_at(home, name) and patch.on for patch in self._made)


def is_ours(function: Any) -> bool:
    """Return whether a function is a replacement that `Patches` has made, not one that wraps it.

    The mark alone does not say so: `functools.wraps` copies it to the wrapper of another library.
    """
    function = getattr(function, "__func__", function)
    mark = getattr(function, _MARK, None)
    return isinstance(mark, _Patch) and mark.function is function


class _Patch:
    """One replacement: what was there, what is there now, and whether it does anything."""

    on = False
    function: Call  # the plain function; `_replacement` has it as the descriptor that it stands for
    _replacement: Any
    _work: Call

    def __init__(self, owner: Any, name: str, original: Any, passing: bool) -> None:
        self._owner = owner
        self._name = name
        self._passing = passing
        self.inherits = name not in vars(owner)
        self._original = original
        self._call = _inherited(owner, name) if self.inherits else _callable(owner, original)

    @classmethod
    def of(cls, owner: Any, name: str, passing: bool) -> _Patch | None:
        """Return the patch of a name, not yet put in place; None if there is no such name."""
        places = owner.__mro__ if isinstance(owner, type) else (owner,)
        found = next((vars(place)[name] for place in places if name in vars(place)), None)
        return None if found is None else cls(owner, name, found, passing)

    @property
    def label(self) -> str:
        """Return what is replaced, for a `repr`."""
        return f"{self._owner.__name__}.{self._name}{'' if self.on else ' (off)'}"

    def is_at(self, owner: Any, name: str) -> bool:
        """Return whether it replaces this very name of this very owner."""
        return self._owner is owner and self._name == name

    def put(self, make: Make) -> None:
        """Set the replacement."""
        self._work = make(self._call)
        function = self._work if self._passing else self._switch()
        # before CPython 3.10 a class method has no name of its own
        named = getattr(self._original, "__func__", self._original)
        self.function = functools.wraps(named)(function)
        self.function.__wrapped__ = self._original
        setattr(self.function, _MARK, self)
        self._replacement = _same_kind(self._owner, self._original, self.function)
        setattr(self._owner, self._name, self._replacement)
        self.on = True

    def resume(self, make: Make) -> bool:
        """Have it work again if it is still there, on top or beneath another; return whether."""
        if self._is_gone():
            return False
        if not self.on and not self._passing:
            self._work = make(self._call)
        self.on = True
        return True

    def undo(self) -> bool:
        """Pass everything through from now on; return whether nothing is left of it."""
        self.on = False
        if vars(self._owner).get(self._name) is not self._replacement:
            return self._is_gone()
        if self.inherits:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._original)
        return True

    def _is_gone(self) -> bool:
        """Return whether other code has put back what was there before, and may have wrapped it
        since.

        Wrappers that say nothing of what they wrap are taken to have ours beneath them.
        """
        current = vars(self._owner).get(self._name)
        if current is None:
            return True
        for _ in range(_LONGEST_CHAIN):
            if current is None or current is self._replacement or current is self.function:
                return False
            if current is self._original:
                return not self.inherits
            current = getattr(current, "__wrapped__", None)
        return False

    def _switch(self) -> Call:
        original = self._call

        def switch(*args: Any, **kwargs: Any) -> Any:
            return self._work(*args, **kwargs) if self.on else original(*args, **kwargs)

        return switch


def _callable(owner: Any, original: Any) -> Call:
    """Return the original as a function to call, with the instance or the class as first argument.

    Asked of the type: a proxy (wrapt's wrappers) says that its class is that of what it wraps.
    """
    if not isinstance(owner, type) or type(original) is FunctionType:
        return original  # type: ignore[no-any-return]
    if isinstance(original, staticmethod):
        return original.__get__(None, owner)
    if isinstance(original, classmethod):
        return lambda cls, *args, **kwargs: original.__get__(None, cls)(*args, **kwargs)
    if not hasattr(type(original), "__get__"):  # a callable object: nothing hands it an instance
        return lambda _instance, *args, **kwargs: original(*args, **kwargs)

    def bound(instance: Any, *args: Any, **kwargs: Any) -> Any:
        return original.__get__(instance, type(instance))(*args, **kwargs)

    return bound


def _inherited(owner: Any, name: str) -> Call:
    def inherited(instance: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(super(owner, instance), name)(*args, **kwargs)

    return inherited


def _same_kind(owner: Any, original: Any, function: Call) -> Any:
    if isinstance(owner, type):
        for kind in (staticmethod, classmethod):
            if isinstance(original, kind):
                return kind(function)
    return function
