"""Call back when a module has been imported, without importing it.

wrapt has this, too, but `import wrapt` brings asyncio, and with it `ssl` and `concurrent.futures`,
into every process: 40 ms, and under gevent modules that are loaded before they are patched.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from .log import named

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

Callback = Callable[[ModuleType], object]

_logger = named("imports")


class ImportHooks:
    """A finder that leaves the search to the others, and sees when what they found has been
    executed.
    """

    def __init__(self) -> None:
        self._waiting: Dict[str, List[Callback]] = {}
        # by thread: the search goes through sys.meta_path again, and so through this finder
        self._searching: Dict[int, str] = {}

    def add(self, name: str, callback: Callback) -> None:
        """Call `callback(module)` once: now if the module is there, else when it has been imported.

        What it raises is logged: the import that it hangs on is the app's.
        """
        self._waiting.setdefault(name, []).append(callback)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        module = sys.modules.get(name)
        # one that is just being imported calls back at its end
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            self.imported(module)

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return what the other finders find, with a loader that reports the end of the import."""
        thread = threading.get_ident()
        if name not in self._waiting or self._searching.get(thread) == name:
            return None
        before, self._searching[thread] = self._searching.get(thread), name
        try:
            spec = self._found_by_others(name, path, target)
        finally:
            if before is None:
                del self._searching[thread]
            else:
                self._searching[thread] = before
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Reporting(spec.loader, self)  # type: ignore[assignment]
        return spec

    def _found_by_others(
        self, name: str, path: Optional[Sequence[str]], target: Optional[ModuleType]
    ) -> Optional[ModuleSpec]:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)  # a finder of Python 2's kind has none
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                return spec  # type: ignore[no-any-return]
        return None

    def imported(self, module: ModuleType) -> None:
        """Call what waits for a module."""
        for callback in self._waiting.pop(module.__name__, ()):
            _call(callback, module)


class _Reporting:
    """The loader of a module, until the module has been executed: from then on it has its own
    again.
    """

    def __init__(self, loader: Any, hooks: ImportHooks) -> None:
        self._loader = loader
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:  # get_source, get_data, is_package, ...
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        """Make the module as its own loader does."""
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        """Execute it, and report that."""
        spec: Any = module.__spec__
        if spec is not None and spec.loader is self:
            spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._hooks.imported(module)


def _call(callback: Callback, module: ModuleType) -> None:
    try:
        callback(module)
    except Exception:
        _logger.exception(
            "[RW006] error inside resilient_wsgi after the import of %s", module.__name__
        )


when_imported = ImportHooks().add
