"""The app's own sources: kept where they speak of uWSGI or of the library, or start threads beside
an application, to be searched; never imported.
"""

from __future__ import annotations

import ast
from typing import Container, Dict, Iterator, List, Tuple

from ..model import Location
from ..subject import Source, Subject
from .uwsgi_export import Open

MOST_CHARACTERS = 256 << 10
MOST_PARTS = 10


def recognises(name: str, text: str) -> bool:
    """Return whether it is Python that uses uWSGI's module or the library, or that starts threads
    where it makes the application.
    """
    if not name.endswith(".py"):
        return False
    starts = "Thread(" in text and "application" in text
    return starts or "uwsgi" in text or "resilient_wsgi" in text


def read(subject: Subject, source: Source, open_file: Open) -> None:
    """Keep the source."""
    del open_file
    subject.python.append(source)


def calls(subject: Subject, names: Container[str]) -> Iterator[Location]:
    """Yield where the sources call one of these functions, given by their full names, under
    whatever name they have imported it.
    """
    for source in subject.python:
        for name, line in _calls(subject, source):
            if name in names:
                yield Location(source.file, line, source.lines()[line - 1])


def _calls(subject: Subject, source: Source) -> List[Tuple[str, int]]:
    """Return all calls in a source of what it has imported, with their lines; none if it is no
    Python.
    """
    known: Dict[str, List[Tuple[str, int]]] = subject.derived.setdefault("calls", {})
    if source.file not in known:
        try:
            known[source.file] = list(_found(source.text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            known[source.file] = []
    return known[source.file]


def _found(text: str) -> Iterator[Tuple[str, int]]:
    if len(text) > MOST_CHARACTERS:
        return
    nodes = list(ast.walk(ast.parse(text)))
    imported: Dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            imported.update({each.asname or each.name: each.name for each in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                imported[each.asname or each.name] = f"{node.module}.{each.name}"
    for node in nodes:
        if isinstance(node, ast.Call):
            name, *rest = _dotted(node.func)
            if name in imported:
                yield ".".join([imported[name], *rest]), node.lineno


def _dotted(node: ast.expr) -> List[str]:
    """Return the parts of a name with dots, `[""]` if it is none, or has too many."""
    parts: List[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < MOST_PARTS:
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else [""]
