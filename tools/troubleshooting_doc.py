"""Write docs/troubleshooting.md from the explanations:
`python -m tools.troubleshooting_doc > docs/troubleshooting.md`.
"""

from __future__ import annotations

import sys
from typing import Dict, List

from resilient_wsgi.events import explanations
from resilient_wsgi.events.explanations import Explanation
from tools.page import cell, print_or_check

HEAD = """# Troubleshooting

This page is made from `resilient_wsgi/events/explanations.py`; `make troubleshooting-doc` writes
it again.

Every line that the library logs begins with a code, `[RW101]` for one. Look it up here, or offline:

```console
$ resilient-wsgi explain RW101
```

Lines of the same code have the same `msg` template, so a log search for `[RW101]` counts them.
"""
PARTS = {
    "The library itself": explanations.LIBRARY,
    "Outbound calls": explanations.OUTBOUND,
    "Fair share": explanations.BULKHEAD,
    "Databases, caches, brokers and mail": explanations.DRIVERS,
    "Requests": explanations.REQUEST,
    "Overload and listen queues": explanations.OVERLOAD,
    "Standard error": explanations.STDERR,
    "Threads": explanations.THREADS,
    "Loads and workers": explanations.READINESS,
}


def render() -> str:
    """Return the page."""
    return HEAD + "".join(f"\n## {name}\n\n{_table(rows)}" for name, rows in PARTS.items())


def _table(rows: Dict[str, Explanation]) -> str:
    head = "| code | log line | what it means | what to do |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f'| <span id="{code.lower()}">[{code}]({each.page}.md)</span> | `{cell(each.line)}` | '
        f"{cell(each.meaning)} | {cell(each.action)} |\n"
        for code, each in rows.items()
    )


def main(arguments: List[str]) -> int:
    """Print the page, or with `--check FILE` tell whether the file is current."""
    return print_or_check(arguments, render(), "troubleshooting-doc")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
