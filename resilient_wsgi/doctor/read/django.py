"""Django's settings as rules see them: those of a project that was loaded, or of an example."""

from __future__ import annotations

import ast
from typing import Any, Dict, List, Mapping, Tuple

from ..model import Location
from ..subject import Subject

# what Django has for the settings that rules ask for, if a project sets nothing
DEFAULTS: Dict[str, Any] = {
    "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
    "EMAIL_HOST": "localhost",
    "EMAIL_TIMEOUT": None,
    "ADMINS": [],
    "DATABASES": {},
    "CACHES": {},
    "LOGGING": {},
    "INSTALLED_APPS": [],
    "SILENCED_SYSTEM_CHECKS": [],
}
# what rules ask for
NAMES = (
    *DEFAULTS, "CELERY_BROKER_URL", "CELERY_BROKER_TRANSPORT_OPTIONS", "RESILIENT_WSGI",
)  # fmt: skip
_ENGINES = {
    "postgresql": ("postgresql", "postgis", "psqlextra", "postgresql_psycopg2"),
    "mysql": ("mysql",),
}


class Database:
    """An entry of DATABASES."""

    def __init__(self, alias: str, options: Mapping[str, Any]) -> None:
        self.alias = alias
        self._options = options
        own = options.get("OPTIONS")
        self.options: Mapping[str, Any] = own if isinstance(own, Mapping) else {}

    @property
    def vendor(self) -> str:
        """`postgresql`, `mysql`, or `""` for what the rules do not know."""
        engine = str(self._options.get("ENGINE", "")).rpartition(".")[2]
        return next((vendor for vendor, names in _ENGINES.items() if engine in names), "")

    @property
    def host(self) -> str:
        """The host that it is reached at by TCP, `""` for a local socket."""
        host = str(self._options.get("HOST") or "")
        return "" if host.startswith("/") else host

    def get(self, name: str, default: Any = None) -> Any:
        """Return one of its entries, `default` without it."""
        return self._options.get(name, default)


class DjangoSettings:
    """The settings of a project, with Django's defaults for what it does not set."""

    def __init__(self, settings: Mapping[str, Any], name: str = "") -> None:
        self.location = Location(name)
        self._settings = settings

    def __repr__(self) -> str:
        return f"<DjangoSettings {self.location.file}>"

    @classmethod
    def described(cls, text: str) -> DjangoSettings:
        """Return the settings of an example: assignments of literals. Raises `ValueError`."""
        return cls(
            {
                target.id: ast.literal_eval(node.value)
                for node in ast.parse(text).body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
        )

    def get(self, name: str) -> Any:
        """Return a setting, or Django's default for it."""
        return self._settings.get(name, DEFAULTS.get(name))

    def databases(self) -> List[Database]:
        """Return the entries of DATABASES."""
        entries = self.get("DATABASES")
        return [Database(alias, each) for alias, each in _mappings(entries)]

    def caches(self) -> List[Tuple[str, Mapping[str, Any]]]:
        """Return the entries of CACHES by alias."""
        return _mappings(self.get("CACHES"))

    def log_handlers(self) -> List[Tuple[str, Mapping[str, Any]]]:
        """Return the handlers of LOGGING by name."""
        logging = self.get("LOGGING")
        return _mappings(logging.get("handlers") if isinstance(logging, Mapping) else None)

    def sends_by_smtp(self) -> bool:
        """Return whether mail is sent by SMTP, to a server that the project names."""
        backend = str(self.get("EMAIL_BACKEND"))
        by_smtp = backend == DEFAULTS["EMAIL_BACKEND"]
        return bool(by_smtp and str(self.get("EMAIL_HOST")) != DEFAULTS["EMAIL_HOST"])


def _mappings(entries: Any) -> List[Tuple[str, Mapping[str, Any]]]:
    if not isinstance(entries, Mapping):
        return []
    return [(str(name), each) for name, each in entries.items() if isinstance(each, Mapping)]


def projects(subject: Subject) -> List[DjangoSettings]:
    """Return the project whose settings are looked at; none unless the doctor was told to."""
    return [subject.django] if subject.django else []
