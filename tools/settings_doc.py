"""Write docs/settings.md from the one table: `python -m tools.settings_doc > docs/settings.md`."""

from __future__ import annotations

import sys
from typing import Any, List, Sequence

from resilient_wsgi.settings.options import PREFIX, SECTIONS, Option, table
from tools.page import cell, print_or_check

HEAD = f"""# Settings

This page is made from the table in `resilient_wsgi/settings/options.py`. Times are seconds.

Precedence: arguments of `install()`, then `settings.{PREFIX}` (Django), then the environment,
then the default; but an off switch in the environment always wins: `{PREFIX}=off` for all (no
other setting is read then, so no mistake in one matters), `{PREFIX}_OUTBOUND=off` for a section.
`{PREFIX}=report` is a dry run of everything, whatever the code says; sections that are off stay
off, and one that the environment names (`{PREFIX}_STDERR=enforce`) is as it says.

```python
# settings.py, or install({{...}})
{PREFIX} = {{"OUTBOUND": {{"TOTAL_TIMEOUT": 20}}, "STDERR": "off"}}
```
```ini
; uwsgi.ini (a comment of its own line: behind a value uWSGI takes it for part of the value)
env = {PREFIX}_OUTBOUND_TOTAL_TIMEOUT=20
```

What `shared-import = resilient_wsgi.uwsgi` puts in place before the app is loaded (STDERR,
THREADS, READINESS, BACKLOG) is set by the environment: Django's settings are not known yet. When
the app is loaded, they are applied on top.

A mistake (an unknown name, a wrong type, a negative time) never stops a service that would run
without the library:

- **In the environment**: an error in the log, once, and the default in its place. Under Django also
  the warning W003 of the system checks, so that no management command ends.
- **In `settings.{PREFIX}`**: the same under a server. In `manage.py check`, `runserver`, and every
  other command that runs the checks, the error E001.
- **In the arguments of `install()`**: `ConfigurationError`, which lists all mistakes. They are code,
  and fail where they are written, at the first start.

Off has one spelling for each type: `MODE = "off"` for a section, False for a switch, None for "no
limit". In the environment every value is a text: `false`, `none`.
"""


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for section, cls in SECTIONS.items():
        rows = [option for option in table() if option.section == section]
        parts.append(f"## {section}\n\n{cls.__doc__}\n\n{_rows(rows)}")
    return "\n".join(parts)


def _rows(options: Sequence[Option]) -> str:
    head = "| option | takes | default | what it is |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| `{o.name}` | {cell(o.kind.accepts)} | {_default(o.default, o.unit)} "
        f"| {cell(o.sentence)} |\n"
        for o in options
    )


def _default(value: Any, unit: str) -> str:
    return f"`{value}`" + (f" {unit}" if unit and value is not None else "")


def main(arguments: List[str]) -> int:
    """Print the page, or with `--check FILE` tell whether the file is current."""
    return print_or_check(arguments, render(), "settings-doc")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
