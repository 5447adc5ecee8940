"""Write docs/events.md from the event classes: `python -m tools.events_doc > docs/events.md`."""

from __future__ import annotations

import inspect
import logging
import sys
import typing
from typing import Any, Dict, Iterator, List, Type

from resilient_wsgi import events
from tools.page import cell, print_or_check

HEAD = """# Events

This page is made from the classes in `resilient_wsgi/events/`; `make events-doc` writes it again.

Whatever the library does about a wait is an event: it is counted, logged in one line, and passed
to subscribers. An event is a frozen record whose fields are data; its message is made from them
by a template that is the same for all events of its class.

## Subscribe to events

```python
import resilient_wsgi.events

timeouts = []


def on_event(event):
    if isinstance(event, resilient_wsgi.events.OutboundTimedOut):
        timeouts.append((event.host, event.phase, event.limit))


unsubscribe = resilient_wsgi.events.subscribe(on_event)
```

Your function is called in the thread in which the event happens, after it was logged, so it must
not block: put what takes longer into a queue. What it raises is caught, and logged once a minute.
Call `unsubscribe()` to end it. After a fork the child has the subscribers of its parent.

`resilient_wsgi.events.counts()` returns how many events of each class this process has seen.

In a dry run (`MODE = "report"`) the events that would have happened are emitted, most of them
with `dry_run=True`, and nothing is changed.

## Use the fields in your logs

Events are logged by the logger of their component, `resilient_wsgi.request` for one, at the level
in the table. The log record has

| attribute | what |
| --- | --- |
| `msg` | the template, constant for each class: Sentry groups by it |
| `args` | a dictionary of what fills it in |
| `resilient_wsgi` | a dictionary with the class's name as `event`, and all fields |

So a JSON formatter that prints the extra attributes of records, such as python-json-logger, needs
no configuration, and no name of a field can collide with an attribute of the record or of your
own:

```python
import json
import logging


class JsonFormatter(logging.Formatter):
    def format(self, record):
        line = {"level": record.levelname, "message": record.getMessage()}
        line.update(getattr(record, "resilient_wsgi", {}))
        return json.dumps(line)
```

Text from outside (paths, hosts, exception texts) is escaped, cut and stripped of secrets in all
three. The fields that a subscriber sees are as they came: escape them before they reach a log, a
terminal or a page.

## Use the labels in your metrics

`event.labels()` returns the fields that take only a few values, as text; in the tables below
they are in bold. Paths, hosts and names
of threads are not among them.

```python
import collections

import resilient_wsgi.events

counters = collections.Counter()


def count(event):
    counters[(type(event).__name__, *sorted(event.labels().items()))] += 1


resilient_wsgi.events.subscribe(count)
```

## Test what your app emits

`resilient_wsgi.testing.captured_events()` collects the events of a block in a list.
"""
PARTS = {
    "outbound": "waits for upstreams",
    "bulkhead": "shares of the threads",
    "drivers": "waits for databases, caches, brokers and mail",
    "stderr": "waits for the log reader",
    "threads": "waits for threads",
    "readiness": "waits for an app",
    "request": "waits in requests",
    "overload": "waits in the listen queue",
    "backlog": "the length of the listen queue",
}


def kinds() -> List[Type[events.Event]]:
    """Return the event classes."""
    found = (getattr(events, name) for name in events.__all__)
    return [each for each in found if inspect.isclass(each) and each is not events.Event]


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for component, what in PARTS.items():
        rows = "".join(_row(kind) for kind in kinds() if kind.component == component)
        head = "| event | level | what happened | fields |\n| --- | --- | --- | --- |\n"
        parts.append(f"## `{component}`: {what}\n\n{head}{rows}")
    return "\n".join(parts)


def _row(kind: Type[events.Event]) -> str:
    what = " ".join((inspect.getdoc(kind) or "").split())
    fields = "; ".join(_fields(kind))
    level = logging.getLevelName(kind.level)
    return f"| `{kind.__name__}` | {level} | {cell(what)} | {cell(fields)} |\n"


def _fields(kind: Type[events.Event]) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    for name in kind._field_names:  # noqa: SLF001
        mark = "**" if name in kind.label_fields else ""
        yield f"{mark}`{name}`{mark} {_words(hints[name])}"


def _words(of: Any) -> str:
    names: Dict[Any, str] = {str: "text", int: "int", float: "float", bool: "bool"}
    if typing.get_origin(of) is typing.Literal:
        return "(" + ", ".join(typing.get_args(of)) + ")"
    if of == typing.Optional[float]:
        return "float or None"
    return names.get(of, "texts")


def main(arguments: List[str]) -> int:
    """Print the page, or with `--check FILE` tell whether the file is current."""
    return print_or_check(arguments, render(), "events-doc")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
