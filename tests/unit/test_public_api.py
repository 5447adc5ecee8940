"""The contract: the public names are there, and each says what it promises."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "resilient_wsgi"
NAMES = {
    "resilient_wsgi": ["install", "wrap", "load", "off", "Installation"],
    "resilient_wsgi.deadline": ["Deadline", "current", "in_request", "limit", "remaining"],
    "resilient_wsgi.errors": ["ConfigurationError", "DeadlineExceeded"],
    "resilient_wsgi.events": ["subscribe", "emit", "counts"],
    "resilient_wsgi.outbound": ["timeouts", "unlimited", "install", "uninstall"],
    "resilient_wsgi.readiness": ["load", "check", "ReadinessMiddleware"],
    "resilient_wsgi.request": ["DeadlineMiddleware", "ClientGoneMiddleware", "QueueMiddleware"],
    "resilient_wsgi.stderr": ["NonBlockingStream", "NonBlockingHandler", "take_over"],
    "resilient_wsgi.testing": [
        "captured_events",
        "hung_server",
        "stalled_pipe",
        "FakeClock",
        "off",
    ],
    "resilient_wsgi.threads": ["registry", "spawn", "every", "stopping", "sleep", "stop_event"],
}


@pytest.mark.parametrize("module", NAMES)
def test_the_names_that_users_rely_on_are_there(module):
    there = importlib.import_module(module)
    assert [name for name in NAMES[module] if not hasattr(there, name)] == []


def undocumented(body, where):
    """Return the public classes and functions without a docstring, those of public classes
    included.
    """
    for node in body:
        if not isinstance(
            node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        ) or node.name.startswith("_"):
            continue
        decorators = [
            d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "")
            for d in node.decorator_list
        ]
        said_elsewhere = {"setter", "overload"} & set(decorators)
        if ast.get_docstring(node) is None and not said_elsewhere:
            yield f"{where}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, where)


def test_every_public_name_has_a_docstring():
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        where = path.relative_to(PACKAGE)
        if tree.body and ast.get_docstring(tree) is None:
            missing.append(str(where))
        missing += undocumented(tree.body, where)
    assert missing == []


def test_only_servers_import_uwsgi_and_nobody_imports_an_http_client():
    offenders = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in (n.partition(".")[0] for n in names):
                if (
                    (name in ("uwsgi", "uwsgidecorators") and where[0] != "servers")
                    or (name == "django" and where[0] != "django")
                    or (
                        name in ("requests", "httpx", "urllib3")
                        and where[:2] != ("outbound", "patches")
                    )
                ):
                    offenders.append(f"{'/'.join(where)}:{node.lineno} {name}")
    assert offenders == []
