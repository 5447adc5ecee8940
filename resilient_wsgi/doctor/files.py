"""Files of other authors are opened within limits."""

from __future__ import annotations

import os
import stat

MOST_BYTES = 10 << 20


class CannotRead(ValueError):
    """A file cannot be looked at; the text is the reason."""


def read_text(path: str, most_bytes: int = MOST_BYTES) -> str:
    """Return the text of a regular file; raise `CannotRead` with the reason, or `OSError`."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CannotRead("not a regular file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        msg = f"larger than {most_bytes >> 20} MB"
        raise CannotRead(msg)
    if b"\0" in data:
        raise CannotRead("not text")
    return data.decode("utf-8", "surrogateescape")
