"""The configuration that the examples of rules about something missing are made from."""

from __future__ import annotations

PREFORK = """\
[uwsgi]
module = mysite.wsgi:application
socket = /run/mysite/uwsgi.sock
strict = true
master = true
processes = 4
need-app = true
single-interpreter = true
py-call-uwsgi-fork-hooks = true
die-on-term = true
harakiri = 30
listen = 1024
vacuum = true
"""


def without(*names: str, text: str = PREFORK) -> str:
    """Return the configuration without some options."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.partition("=")[0].strip() not in names)


def also(*lines: str, text: str = PREFORK) -> str:
    """Return the configuration with further lines; an option that is there already is replaced."""
    names = (line.partition("=")[0].strip() for line in lines)
    return "".join((without(*names, text=text), *(f"{line}\n" for line in lines)))
