"""Which apps uWSGI's options name, and which of them a worker has."""

from __future__ import annotations

import difflib
import os
import re
import sys
from types import ModuleType
from typing import Any, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

from ...settings.options import PREFIX
from . import native as uwsgi_native

Options = Mapping[str, Any]
Apps = Iterable[Mapping[str, Any]]
PYTHON_APP = (".py", ".wsgi")
# the variable that names the app that `module = resilient_wsgi.uwsgi:application` serves
VARIABLE = f"{PREFIX}_APPLICATION"
OURS = ("resilient_wsgi.uwsgi", "application")
# each has uWSGI load a Python app (plugins/python/python_plugin.c); some values of `mount` do, too
NAMING_AN_APP = (
    "module", "wsgi", "wsgi-file", "file", "eval", "pecan", "paste", "ini-paste",
    "ini-paste-logged", "web3", "pump", "wsgi-lite",
)  # fmt: skip
# these give an instance processes beside its workers that a reload ends, a spooler in the middle of
# its task
OTHER_PROCESSES = re.compile(r"mules?$|farm$|spooler|(legion-)?(smart-)?attach-")


def is_true(value: object) -> bool:
    """Return whether uWSGI takes this value of `uwsgi.opt` for true: all but four words are
    (core/config.c).
    """
    return value is not None and value not in (b"false", b"off", b"no", b"0")


def configured(options: Options) -> bool:
    """Return whether an option names a Python app: spoolers, mules, static files and emperors need
    none.
    """
    return bool(mountpoints(options)) or any(options.get(name) for name in NAMING_AN_APP)


def problem(apps: Apps, options: Options) -> str:
    """Return why a worker with these apps (from `uwsgi.workers()`) can serve nothing; "" if it can
    serve one of them, or none is configured.
    """
    if not configured(options):
        return ""
    loaded = _mountpoints_of(apps)
    if not loaded:
        return _why_not(options) or "no app was loaded"
    wrong = dict(_not_callable(options))
    return "; ".join(wrong.values()) if wrong and loaded <= set(wrong) else ""


def missing(apps: Apps, options: Options) -> str:
    """Return which apps a worker that has others is missing, or has wrong; "" if it has all."""
    loaded = _mountpoints_of(apps)
    without = sorted(mountpoints(options) - loaded) if loaded else []
    lines = [f"no app for mount {', '.join(without)}"] if without else []
    return "; ".join([*lines, *(text for point, text in _not_callable(options) if point in loaded)])


def _mountpoints_of(apps: Apps) -> Set[str]:
    return {_text(app["mountpoint"]) for app in apps}


def mountpoints(options: Options) -> Set[str]:
    """Return the mount points of Python apps among the options."""
    return {point for point, app in _mounts(options) if ":" in app or app.endswith(PYTHON_APP)}


def _mounts(options: Options) -> List[Tuple[str, str]]:
    values = uwsgi_native.values("mount") or [
        _text(options.get("mount") or options.get("worker-mount"))
    ]
    pairs = (value.partition("=") for value in values if value)
    return [(point, app) for point, _, app in pairs]


def _why_not(options: Options) -> str:
    """Return why a module has no app although importing it raised nothing."""
    for _, module, attribute in _callables(options):
        if attribute not in vars(module):
            if (module.__name__, attribute) == OURS and VARIABLE not in os.environ:
                served = ":".join(OURS)
                return f"set {VARIABLE}=module:attribute: it names the app that {served} serves"
            public = [name for name in vars(module) if not name.startswith("_")]
            close = difflib.get_close_matches(attribute, public, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return f"module {module.__name__!r} has no {attribute!r}{hint}"
    return "; ".join(text for _, text in _not_callable(options))


def _not_callable(options: Options) -> Iterator[Tuple[str, str]]:
    """Yield each mount point whose app cannot be called, and what it is, in words.

    uWSGI checks the callable of a file, not that of a module (plugins/python/pyloader.c).
    """
    for point, module, attribute in _callables(options):
        app = vars(module).get(attribute)
        if app is not None and not callable(app) and not isinstance(app, dict):
            yield (
                point,
                f"{attribute!r} of module {module.__name__!r} is not callable: {app!r:.100}",
            )


def _callables(options: Options) -> Iterator[Tuple[str, ModuleType, str]]:
    """Yield each mount point, the imported module that should have its app, and the app's name in
    it.

    Leaves out apps in interpreters of their own: without `single-interpreter`, all that are mounted
    after the first.
    """
    specs = [("", _text(options.get("module") or options.get("wsgi")))]
    specs += [(point, app) for point, app in _mounts(options) if not app.endswith(PYTHON_APP)]
    for point, spec in specs:
        name, _, attribute = spec.partition(":")
        attribute = attribute or _text(options.get("callable")) or "application"
        module = sys.modules.get(name)
        if module is not None and not attribute.endswith("()"):
            yield point, module, attribute


def _text(value: Optional[object]) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""
