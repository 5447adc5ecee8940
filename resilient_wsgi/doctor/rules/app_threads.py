"""Threads that the app starts when it is imported."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import Iterator, List, Set
from warnings import catch_warnings, simplefilter

from ..model import Evidence, Location, Severity, at, rule
from ..stopping import mercy_seconds
from ..subject import Source, Subject
from .uwsgi_facts import imports_library

MOST_BYTES = 200_000  # of a source; the file that makes the application is short
_APP = "\n\ndef application(environ, start_response):\n    ...\n"
_THREAD = (
    "import threading, time\n\n\ndef refresh():\n    while True:\n        time.sleep(10)\n\n\n"
)
_OURS = "shared-import = resilient_wsgi.uwsgi\nhook-accepting = rpc:resilient_wsgi_ready\n"


@rule(
    "U93",
    Severity.WARNING,
    "a thread that is started with the app holds up every reload",
    why=(
        "Python waits at its end for every thread that is not a daemon. A loop that nobody stops "
        "never ends, so each reload and each stop takes `worker-reload-mercy`, 60 s by default, "
        "and ends with `taking too much time to die...NO MERCY`: incident 3. In prefork the "
        "thread does not even run in the workers: it stays behind in the master."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nmodule = wsgi\nlazy-apps = true\n",
        "wsgi.py": _THREAD + "threading.Thread(target=refresh).start()\n" + _APP,
    },
    good={
        "uwsgi.ini": "[uwsgi]\nmodule = wsgi\nlazy-apps = true\n" + _OURS,
        "wsgi.py": _THREAD + "threading.Thread(target=refresh).start()\n" + _APP,
    },
    fix="Make it daemon=True, or add the library's two lines: it ends such threads in time.",
    sources=("incident 3 (reload with threads)", "CPython, threading._shutdown"),
)
def thread_at_import(subject: Subject) -> Iterator[Evidence]:
    """Find threads that are no daemons and are started at the top level of the app's file."""
    configs = [each for each in subject.uwsgi if not imports_library(each)]
    if not configs or "resilient_wsgi" in " ".join(each.text for each in subject.python):
        return
    mercy = mercy_seconds(configs[0])
    for source in subject.python:
        for line in _started_at_import(source):
            text = source.lines()[line - 1]
            waits = f"a reload waits {mercy} s for it" if mercy else "a reload waits for it"
            yield at(Location(source.file, line, text), f"a thread that is no daemon: {waits}")


def parsed(source: Source) -> List[ast.stmt]:
    """Return the statements of a source that starts threads; none of one that cannot be read."""
    if "Thread(" in source.text and len(source.text) <= MOST_BYTES:
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError), catch_warnings():
            simplefilter("ignore")  # of what is written there, which is not the doctor's business
            return ast.parse(source.text).body
    return []


def _started_at_import(source: Source) -> Iterator[int]:
    """Yield the lines that make a thread, not a daemon, which is started when the file is
    imported.
    """
    statements = list(_at_import(parsed(source)))
    daemons = {name for each in statements for name in _with(each, "daemon", "setDaemon")}
    started = {name for each in statements for name in _with(each, "start")}
    for statement in statements:
        names = _targets(statement)
        for thread in _threads(statement):
            inline = "start" in [getattr(each, "attr", "") for each in ast.walk(statement)]
            if not _is_daemon(thread) and not names & daemons and (names & started or inline):
                yield statement.lineno


def _at_import(body: List[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run at import; not those below `if __name__ == "__main__"`."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test):
            continue
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        yield from _at_import([each for block in blocks for each in block])
        if not any(blocks):
            yield statement


def _threads(statement: ast.stmt) -> Iterator[ast.Call]:
    calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
    for call in calls:
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in ("Thread", "Timer"):
            yield call


def _is_daemon(thread: ast.Call) -> bool:
    """Return whether it is, or may be: `daemon=DAEMON`."""
    given = [each.value for each in thread.keywords if each.arg == "daemon"]
    return any(getattr(each, "value", True) is not False for each in given)


def _targets(statement: ast.stmt) -> Set[str]:
    targets = getattr(statement, "targets", [])
    return {each.id for each in targets if isinstance(each, ast.Name)}


def _with(statement: ast.stmt, *attributes: str) -> Iterator[str]:
    """Yield the names whose attribute is used: `t` in `t.start()` and `t.daemon = True`."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and node.attr in attributes:
            yield getattr(node.value, "id", "")
