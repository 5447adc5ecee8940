"""What readiness asks of a Django project: that its URLconf can be imported, its database answers,
its migrations ran.

`urlconf_problem` is asked by itself before a worker accepts. The others are readiness checks once
they are registered: `readiness.check(database)`, `readiness.check(migrations)`, in an AppConfig's
`ready()`, say.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Iterator, Tuple, Union

from django.apps import apps
from django.conf import settings

from ..core.text import one_line


def urlconf_problem() -> str:
    """Import ROOT_URLCONF as the first request would; return what is wrong with it, "" if nothing
    is.

    The traceback goes where uWSGI prints that of a load.
    """
    if not apps.ready or not getattr(settings, "ROOT_URLCONF", None):
        return ""
    from django.urls import get_resolver

    try:
        get_resolver().url_patterns  # noqa: B018 - imports it
    except BaseException as error:  # sys.exit() in it included
        sys.excepthook(type(error), error, error.__traceback__)
        return one_line(f"ROOT_URLCONF {settings.ROOT_URLCONF!r}: {type(error).__name__}: {error}")
    return ""


def database() -> Union[bool, str]:
    """Readiness check: every database in DATABASES answers.

    Has a connection of its own, closed afterwards.
    """
    for alias, connection in _own_connections():
        problem = _connection_problem(connection)
        if problem:
            return f"database {alias!r}: {problem}"
    return True


def _connection_problem(connection: Any) -> str:
    from django.db import Error

    try:
        connection.ensure_connection()
        if connection.vendor == "sqlite":  # opens any file, and says of itself that it is usable
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM sqlite_master")
    except Error as error:
        return one_line(f"{type(error).__name__}: {error}")
    return "" if connection.is_usable() else "does not answer"


def migrations() -> Union[bool, str]:
    """Readiness check: no migration is left to be applied.

    Once there is none left it does not look again.
    """
    from django.db.migrations.executor import MigrationExecutor

    if _seen.migrated:
        return True
    for alias, connection in _own_connections():
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            names = ", ".join(
                f"{migration.app_label}.{migration.name}" for migration, _ in plan[:3]
            )
            return f"{len(plan)} migrations of {alias!r} are not applied: {names}"
    _seen.migrated = True
    return True


class _Seen:
    """What this process has seen, and need not look at again."""

    migrated = False


_seen = _Seen()


def _own_connections() -> Iterator[Tuple[str, Any]]:
    """Yield each database's alias and a new connection to it, which is closed afterwards."""
    from django.db import connections

    for alias in connections:
        with contextlib.closing(connections.create_connection(alias)) as connection:
            yield alias, connection
