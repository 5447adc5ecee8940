"""The app's own sources: kept where they speak of uWSGI or of the library, or start threads beside
an application, to be searched; never imported.
"""

from __future__ import annotations

from ..subject import Source, Subject
from .uwsgi_export import Open


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
