"""Names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from importlib import import_module

# not from typing: importing that takes an exec probe longer than all it is for
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping


def names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package: `homes` says in which of its modules each name is, ""
    for a module itself, and `..other.module` for one of another package.
    """

    def __getattr__(name: str) -> object:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        where = homes[name] or name
        home = import_module(where if where.startswith(".") else f".{where}", package)
        value: object = getattr(home, name) if homes[name] else home
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__
