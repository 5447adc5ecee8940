"""Share `uwsgi.post_fork_hook` and `uwsgi.atexit` with other libraries that want them.

uWSGI looks each up as one attribute of its module. Libraries assign to it, some without calling
what was there (`uwsgidecorators` does so on import), and in prefork that happens between
`shared-import` and the fork. So the module is given a class whose attribute assignment adds to a
chain instead.
"""

from __future__ import annotations

from types import CodeType, ModuleType
from typing import Any, Callable, Dict, Optional

from ...core.guard import Guard

Hook = Callable[[], object]

_guard = Guard("servers")
_links: Dict[str, _Link] = {}


class _Link:
    """What uWSGI calls: ours first, then what another library has set."""

    __slots__ = ("_mine", "_running", "theirs")

    def __init__(self, mine: Hook, theirs: Optional[Hook]) -> None:
        self._mine = mine
        self.theirs = theirs
        self._running = False

    def __call__(self) -> None:
        # those who chain by hand call what they found, and they found us
        if self._running:
            return
        self._running = True
        try:
            with _guard:
                self._mine()
            if self.theirs is not None:
                self.theirs()
        finally:
            self._running = False


class _SharedModule(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        link = _links.get(name)
        if link is None or value is link:
            super().__setattr__(name, value)
        else:
            link.theirs = value


def chain(module: ModuleType, attribute: str, mine: Hook) -> None:
    """Have `mine` called whenever the server calls `module.attribute`, whatever is assigned to it
    before or later.
    """
    link = _links.get(attribute)
    if link is None:
        _links[attribute] = link = _Link(mine, getattr(module, attribute, None))
        setattr(module, attribute, link)
    if not isinstance(module, _SharedModule):
        module.__class__ = _SharedModule


def runs_hooks(code: CodeType) -> bool:
    """Return whether a function is the one that runs the hooks of other libraries."""
    return code is _Link.__call__.__code__
