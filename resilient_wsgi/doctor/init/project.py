"""What project lies in a folder: its app, its environment, whether it runs in containers.

Files are read, never imported.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from typing import Iterator, List, NamedTuple, Optional

from ..files import read_text

_NAMES = ("application", "app", "api", "server")
_WSGI_CLASSES = ("Flask", "Bottle", "Falcon", "Pyramid", "get_wsgi_application", "make_wsgi_app")
_ASGI_CLASSES = ("FastAPI", "Starlette", "Quart", "Litestar", "Sanic", "get_asgi_application")
_FACTORIES = ("create_app", "make_app", "build_app")
_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")
_ENVIRONMENTS = (".venv", "venv", "env")
_CONTAINERS = re.compile(r"(Docker|Container)file|(docker-)?compose\.ya?ml", re.IGNORECASE)
_SKIPPED = {"tests", "test", "docs", "node_modules", "migrations", "build", "dist"}
_MOST_FILES = 300
_PY = ".py"
_USUAL = ("wsgi", "app", "main", "__init__", "application", "server")
_NEVER = ("setup", "manage", "conftest")


class NotFound(ValueError):
    """There is no app that uWSGI can load; the text says what to do."""


class Project(NamedTuple):
    """A project, as far as uWSGI needs to know it."""

    name: str  # fit for a unit, a socket and a Kubernetes object
    app: str  # package.module:callable
    chdir: str  # where its packages lie, below the folder; "" is the folder itself
    because: str  # how the app was found
    virtualenv: str = ""  # below the folder, "" if there is none
    container: bool = False
    django: bool = False
    has_library: bool = False  # the sources name this library


def find(folder: str, app: Optional[str] = None) -> Project:
    """Return the project in a folder; raise `NotFound` if it has no app, and none is named."""
    if not folder.isprintable():
        msg = "the folder's name holds a control character, which no configuration file can name"
        raise NotFound(msg)
    found = _named(app) if app else next(_candidates(folder), None)
    if found is None:
        msg = (
            f"no WSGI app was found in {folder}: no manage.py beside a wsgi.py, and no module "
            "with an app or a factory. Fix: name it, --app package.module:callable"
        )
        raise NotFound(msg)
    names = os.listdir(folder)
    environment = next(
        (
            each
            for each in _ENVIRONMENTS
            if os.path.exists(os.path.join(folder, each, "pyvenv.cfg"))
        ),
        "",
    )
    return found._replace(
        name=_name(os.path.basename(os.path.abspath(folder)) or found.app.partition(".")[0]),
        virtualenv=environment,
        container=any(_CONTAINERS.fullmatch(each) for each in names),
        has_library=any("resilient_wsgi" in _text(path) for path in _sources(folder)),
    )


def _named(app: str) -> Project:
    if not re.fullmatch(r"[\w.]+:\w+(\(\))?", app):
        msg = f"--app {app}: not package.module:callable"
        raise NotFound(msg)
    return Project("", app, "", "it was named")


def _candidates(folder: str) -> Iterator[Project]:
    for place in ("", *_folders(folder)):
        yield from _django(folder, place)
    for path in _sources(folder):
        yield from _in_module(folder, path)


def _django(folder: str, place: str) -> Iterator[Project]:
    """Yield the app of a Django project: beside the settings that manage.py names."""
    named = _SETTINGS.search(_text(os.path.join(folder, place, f"manage{_PY}")))
    parts = named[1].split(".") if named else []
    for length in range(len(parts) - 1, 0, -1):
        if os.path.exists(os.path.join(folder, place, *parts[:length], f"wsgi{_PY}")):
            app = f"{'.'.join(parts[:length])}.wsgi:application"
            because = f"{os.path.join(place, f'manage{_PY}')} names {named[1] if named else ''}"
            yield Project("", app, place, because, django=True)


def _in_module(folder: str, path: str) -> Iterator[Project]:
    """Yield the app that a module makes, or its factory."""
    place = os.path.relpath(path, folder)
    root = "src" if place.startswith("src" + os.sep) else ""
    parts = os.path.relpath(place, root or os.curdir)[: -len(_PY)].split(os.sep)
    module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    name = _app_in(_tree(path), place)
    if name:
        yield Project("", f"{module}:{name}", root, f"{place} makes {name}")


def _app_in(tree: ast.Module, place: str) -> str:
    for node in tree.body:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        names = [each.id for each in targets if isinstance(each, ast.Name)]
        made = _called(node)
        if made in _ASGI_CLASSES and set(names) & set(_NAMES):
            msg = f"{place} makes an ASGI app ({made}), which uWSGI cannot serve"
            raise NotFound(msg)
        if names and (made in _WSGI_CLASSES or (made in _FACTORIES and names[0] in _NAMES)):
            return names[0]
    functions = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
    factory = next((each for each in _FACTORIES if each in functions), "")
    if factory:
        return f"{factory}()"
    return "application" if "application" in functions else ""


def _called(node: ast.stmt) -> str:
    """Return the name of what an assignment calls: `Flask` for `app = flask.Flask(...)`."""
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    function = value.func if isinstance(value, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _tree(path: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _sources(folder: str) -> List[str]:
    """Return the modules that may hold an app: those with a usual name first."""
    places = ["", *_folders(folder)]
    if "src" in places:
        places += [os.path.join("src", each) for each in _folders(os.path.join(folder, "src"))]
    found = [
        os.path.join(folder, place, name)
        for place in places
        for name in sorted(os.listdir(os.path.join(folder, place)))
        if name.endswith(_PY) and name[: -len(_PY)] not in _NEVER
    ]
    order = {f"{name}{_PY}": index for index, name in enumerate(_USUAL)}
    found.sort(key=lambda path: order.get(os.path.basename(path), len(order)))
    return found[:_MOST_FILES]


def _folders(folder: str) -> List[str]:
    return sorted(
        each
        for each in os.listdir(folder)
        if os.path.isdir(os.path.join(folder, each))
        and not each.startswith(".")
        and each not in _SKIPPED
        and not os.path.exists(os.path.join(folder, each, "pyvenv.cfg"))
    )


def _text(path: str) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError):
        return ""


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-") or "app"
