"""Write docs/rules/ from the rules of the doctor: `python -m tools.rules_doc`; with `--check`, tell
whether the pages are current.
"""

from __future__ import annotations

import os
import sys
from typing import Dict, List

from resilient_wsgi.doctor.model import Rule, in_order
from resilient_wsgi.doctor.page import page
from resilient_wsgi.doctor.rules import load
from tools.page import cell

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "rules")
AREAS = {
    "U": "uWSGI",
    "N": "nginx",
    "S": "System, container, unit, manifest",
    "G": "gunicorn",
    "R": "granian",
    "D": "Django and the app's libraries",
    "P": "A running instance",
}
HEAD = """# Rules of the doctor

`resilient-wsgi doctor` checks {count} rules. An **error** breaks or kills, as shown on a real server; a
**warning** hurts under failure; a **hint** is good to know. A good configuration has no errors and no warnings.
`resilient-wsgi doctor --explain U45` prints the page of a rule. These pages are generated from the rules.
"""


def pages() -> Dict[str, str]:
    """Return the pages by file name."""
    rules = in_order(load())
    return {"index.md": index(rules), **{f"{each.code}.md": page(each) for each in rules}}


def index(rules: List[Rule]) -> str:
    """Return the page that lists the rules."""
    parts = [HEAD.format(count=len(rules))]
    for letter, title in AREAS.items():
        rows = [_row(each) for each in rules if each.code.startswith(letter)]
        if rows:
            parts += [f"## {title}\n", "| rule | severity | what |\n| --- | --- | --- |", *rows, ""]
    return "\n".join(parts)


def _row(rule: Rule) -> str:
    return f"| [{rule.code}]({rule.code}.md) | {rule.severity.value} | {cell(rule.title)} |"


def current() -> Dict[str, str]:
    """Return the pages that are there."""
    found = {}
    for name in os.listdir(FOLDER) if os.path.isdir(FOLDER) else ():
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            found[name] = file.read()
    return found


def main(arguments: List[str]) -> int:
    """Write the pages, or check them."""
    wanted, there = pages(), current()
    if arguments[:1] == ["--check"]:
        if wanted != there:
            print("docs/rules is not current: run make rules-doc", file=sys.stderr)
        return 0 if wanted == there else 1
    os.makedirs(FOLDER, exist_ok=True)
    for name in there.keys() - wanted.keys():
        os.unlink(os.path.join(FOLDER, name))
    for name, text in wanted.items():
        with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
