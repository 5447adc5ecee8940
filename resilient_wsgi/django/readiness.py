"""What readiness asks of a Django project: that its URLconf can be imported, its database answers, its migrations ran.

`urlconf_problem` is asked by itself before a worker accepts. The others are readiness checks once they are registered:
`readiness.check(database)`, `readiness.check(migrations)`, in an AppConfig's `ready()`, say.
"""

from __future__ import annotations

import sys
from typing import Union

from django.apps import apps
from django.conf import settings


def urlconf_problem() -> str:
    """Import ROOT_URLCONF as the first request would; return what is wrong with it, "" if nothing is.

    The traceback goes where uWSGI prints that of a load.
    """
    if not apps.ready or not getattr(settings, "ROOT_URLCONF", None):
        return ""
    from django.urls import get_resolver

    try:
        get_resolver().url_patterns  # noqa: B018 - imports it
    except BaseException as error:  # sys.exit() in it included
        sys.excepthook(type(error), error, error.__traceback__)
        return f"ROOT_URLCONF {settings.ROOT_URLCONF!r}: {type(error).__name__}: {error}"
    return ""


def database() -> Union[bool, str]:
    """Readiness check: every database in DATABASES answers. Has a connection of its own, closed afterwards."""
    from django.db import connections

    for alias in connections:
        connection = connections.create_connection(alias)
        try:
            connection.ensure_connection()
            if not connection.is_usable():
                return f"database {alias!r} does not answer"
        finally:
            connection.close()
    return True


def migrations() -> Union[bool, str]:
    """Readiness check: no migration is left to be applied. Once there is none left it does not look again."""
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    global _migrated
    if _migrated:
        return True
    for alias in connections:
        connection = connections.create_connection(alias)
        try:
            executor = MigrationExecutor(connection)
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if plan:
                names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:3])
                return f"{len(plan)} migrations of {alias!r} are not applied: {names}"
        finally:
            connection.close()
    _migrated = True
    return True


_migrated = False
