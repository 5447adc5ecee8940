"""Import an app by its name, for `load`; errors suggest the right one."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
import sys
from typing import Any, Iterable

_NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
SPEC = re.compile(rf"^(?P<module>{_NAME})(:(?P<attribute>{_NAME})(?P<call>\(\))?)?$")


def find(spec: str) -> Any:
    """Return the app that `spec` names, without the middleware around it."""
    match = SPEC.match(spec) if isinstance(spec, str) else None
    if match is None:
        msg = f'name an app as "package.module:attribute", not {spec!r}{_suggest_form(spec)}'
        raise ValueError(msg)
    app: Any = _module(match["module"])
    for name in (match["attribute"] or "application").split("."):
        app = _attribute(app, name, spec)
    if match["call"]:
        app = app()
    if not callable(app):
        msg = f"{spec!r} is not a WSGI application: {app!r:.200} cannot be called"
        raise TypeError(msg)
    return app


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        # an import that fails inside the app is the app's error, and is raised unchanged
        if missing != name and not name.startswith(f"{missing}."):
            raise
        msg = f"no module {missing!r} (of {name!r}){_nearest(missing, _siblings(missing))}"
        raise ModuleNotFoundError(msg, name=missing, path=error.path) from None


def _attribute(owner: Any, name: str, spec: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        msg = f"{spec!r}: {owner!r:.200} has no {name!r}{_nearest(name, dir(owner))}"
        raise AttributeError(msg) from None


def _siblings(name: str) -> Iterable[str]:
    """Return the names of the modules beside which `name` should be."""
    parent, _, _ = name.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else sys.path
    prefix = f"{parent}." if parent else ""
    return (
        [prefix + module.name for module in pkgutil.iter_modules(path)] if path is not None else []
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _suggest_form(spec: object) -> str:
    if not isinstance(spec, str):
        return ""
    path, _, attribute = spec.partition(":")
    guess = re.sub(r"\.py$", "", path.strip().strip("/")).replace("/", ".") + (
        f":{attribute.strip()}" if attribute else ""
    )
    return f"; did you mean {guess!r}?" if SPEC.match(guess) else ""
