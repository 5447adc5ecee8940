"""What a file is, by its content; its name decides only where the content cannot."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from typing import Protocol

    from .read.uwsgi_export import Open
    from .subject import Source, Subject

    class Format(Protocol):
        """What a module in read/ that reads files offers. Cheap to import."""

        def recognises(self, name: str, text: str) -> bool:
            """Return whether the file, with its name without folder, is of this format."""

        def read(self, subject: Subject, source: Source, open_file: Open) -> None:
            """Add what the file holds to the subject, or `subject.skip(...)` it with the reason.

            Raises nothing, whatever the text.
            """


# modules in read/ by the kind of file; the first that recognises a file reads it
FORMATS = {
    "uwsgi": "uwsgi",
    "nginx": "nginx",
    "unit": "systemd",
    "manifest": "kubernetes",
    "compose": "compose",
    "image": "docker",
    "procfile": "procfile",
    "requirements": "requirements",
    "gunicorn": "gunicorn",
    "python": "python",
}


def kind_of(name: str, text: str) -> Optional[str]:
    """Return the kind of a file, None if no reader knows it."""
    return next((kind for kind in FORMATS if reader(kind).recognises(name, text)), None)


def reader(kind: str) -> Format:
    """Import and return the reader of a kind of file."""
    module: Format = importlib.import_module(f"{__package__}.read.{FORMATS[kind]}")
    return module
