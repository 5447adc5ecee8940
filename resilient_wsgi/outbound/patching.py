"""Wrap methods of classes so that it can be undone, also where others wrap the same ones before or after us."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple

import wrapt

Wrapper = Callable[[Callable[..., Any], Any, Any, Any], Any]


class _Patch(NamedTuple):
    owner: Any
    name: str
    original: Any
    replacement: Any


class Patches:
    """Everything that was wrapped, to be restored in reverse."""

    def __init__(self) -> None:
        self._made: List[_Patch] = []

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Wrap `owner.name`, once. An inherited method is left to the wrapper of the class that defines it."""
        original = vars(owner).get(name)
        if original is not None:
            self.replace(owner, name, wrapt.FunctionWrapper(original, wrapper))

    def replace(self, owner: Any, name: str, replacement: Any) -> None:
        """Set `owner.name`, unless a replacement of ours is at work there already."""
        if not any(patch.owner is owner and patch.name == name for patch in self._made):
            self._made.append(_Patch(owner, name, vars(owner)[name], replacement))
            setattr(owner, name, replacement)

    def restore(self) -> None:
        """Take away what is ours. What others have wrapped since stays beneath theirs, and passes everything through.

        It is remembered, so that it is not wrapped a second time later.
        """
        buried = []
        for patch in reversed(self._made):
            if vars(patch.owner).get(patch.name) is patch.replacement:
                setattr(patch.owner, patch.name, patch.original)
            else:
                buried.append(patch)
        self._made = buried[::-1]
