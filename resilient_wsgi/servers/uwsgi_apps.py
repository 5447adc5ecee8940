"""What uWSGI's options ask to be loaded, and what of it a worker has."""

from __future__ import annotations

import difflib
import sys
from types import ModuleType
from typing import Any, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

from . import uwsgi_native

Options = Mapping[str, Any]
PYTHON_APP = (".py", ".wsgi")


def is_true(value: object) -> bool:
    """Return whether uWSGI takes this value of `uwsgi.opt` for true: everything but four words (core/config.c)."""
    return value is not None and value not in (b"false", b"off", b"no", b"0")


def problem(apps: Iterable[Mapping[str, Any]], options: Options) -> str:
    """Return what is missing or wrong in the apps of a worker (from `uwsgi.workers()`), in words; "" if nothing is."""
    loaded = {_text(app["mountpoint"]) for app in apps}
    if not loaded:
        return _why_not(options) or "no app was loaded"
    missing = mountpoints(options) - loaded
    if missing:
        return f"no app for mount {', '.join(sorted(missing))}"
    return _not_callable(options)


def mountpoints(options: Options) -> Set[str]:
    """Return the mount points of Python apps among the options."""
    return {point for point, app in _mounts(options) if ":" in app or app.endswith(PYTHON_APP)}


def _mounts(options: Options) -> List[Tuple[str, str]]:
    values = uwsgi_native.values("mount") or [_text(options.get("mount"))]
    pairs = (value.partition("=") for value in values if value)
    return [(point, app) for point, _, app in pairs]


def _why_not(options: Options) -> str:
    """Say why a module has no app, if that was not an exception."""
    for module, attribute in _callables(options):
        if attribute not in vars(module):
            close = difflib.get_close_matches(attribute, vars(module), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return f"module {module.__name__!r} has no {attribute!r}{hint}"
    return _not_callable(options)


def _not_callable(options: Options) -> str:
    # uWSGI looks at the callable of a file before it takes it, not at that of a module (plugins/python/pyloader.c)
    for module, attribute in _callables(options):
        app = vars(module).get(attribute)
        if app is not None and not callable(app) and not isinstance(app, dict):
            return f"{attribute!r} of module {module.__name__!r} is not callable: {app!r:.100}"
    return ""


def _callables(options: Options) -> Iterator[Tuple[ModuleType, str]]:
    """Return each module that is to have an app and was imported, and the name that the app has in it.

    Apps that are mounted after the first live in interpreters of their own (without `single-interpreter`): not these.
    """
    specs = [_text(options.get("module") or options.get("wsgi"))]
    specs += [app for _, app in _mounts(options) if not app.endswith(PYTHON_APP)]
    for spec in specs:
        name, _, attribute = spec.partition(":")
        attribute = attribute or _text(options.get("callable")) or "application"
        module = sys.modules.get(name)
        if module is not None and not attribute.endswith("()"):
            yield module, attribute


def _text(value: Optional[object]) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""
