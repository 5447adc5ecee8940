"""Write the option table of uWSGI that the doctor ships, from uWSGI's own source:

    python -m tools.uwsgi_options FOLDER_OF_UWSGI_2.0.31 > resilient_wsgi/doctor/read/uwsgi.options

One option a line: name, letter, kind, canonical name, flags, plugin, and whether it takes an
argument on the command line. The kind is the function that reads
the value (core/uwsgi.c, `uwsgi_opt_...`); options with the same function and the same variable are
aliases, and the first of them is the canonical one.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

ENTRY = re.compile(
    r'^\s*\{\s*"(?P<name>[^"]+)"\s*,\s*(?P<arg>\w+)\s*,\s*(?P<short>\'.\'|[\w()]+)\s*,'
    r'\s*"(?:[^"\\]|\\.)*"\s*,\s*(?P<func>\w+)\s*,\s*(?P<data>.+?)\s*(?:,\s*(?P<flags>[\w| ]+)\s*)?\}',
    re.MULTILINE,
)
KINDS = {
    "uwsgi_opt_true": "bool",
    "uwsgi_opt_false": "inverse",
    "uwsgi_opt_set_int": "int",
    "uwsgi_opt_set_rawint": "signed",
    "uwsgi_opt_set_64bit": "size",
    "uwsgi_opt_set_16bit": "size16",
    "uwsgi_opt_set_megabytes": "megabytes",
    "uwsgi_opt_set_str": "text",
    "uwsgi_opt_add_string_list": "list",
    "uwsgi_opt_noop": "nothing",
    "uwsgi_opt_deprecated": "nothing",
    "uwsgi_opt_logic": "logic",
}
# the same function with the same variable, and yet no aliases
APART = {
    "uwsgi_opt_noop",
    "uwsgi_opt_deprecated",
    "uwsgi_opt_add_route",
    "uwsgi_opt_add_daemon",
    "uwsgi_opt_legion_hook",
}


class Entry(NamedTuple):
    name: str
    takes: str
    short: str
    func: str
    data: str
    flags: Optional[str]
    plugin: str


def entries(folder: str) -> Iterator[Entry]:
    """Yield the options of the core, then those of each plugin."""
    core = sorted(glob.glob(os.path.join(folder, "core", "*.c")))
    core.sort(key=lambda path: not path.endswith("/uwsgi.c"))
    for path in [*core, *sorted(glob.glob(os.path.join(folder, "plugins", "*", "*.c*")))]:
        parts = os.path.relpath(path, folder).split(os.sep)
        plugin = parts[1] if parts[0] == "plugins" else "-"
        with open(path, encoding="latin-1") as file:
            text = file.read()
        for found in ENTRY.finditer(text):
            if "uwsgi_opt" in found["func"] or found["arg"].endswith("_argument"):
                short = found["short"].strip("'") if found["short"].startswith("'") else "-"
                yield Entry(
                    found["name"],
                    found["arg"].split("_")[0],
                    short,
                    found["func"],
                    found["data"],
                    found["flags"],
                    plugin,
                )


def table(folder: str) -> List[str]:
    """Return the lines of the table."""
    first: Dict[Tuple[str, str], str] = {}
    lines: Dict[str, str] = {}
    for each in entries(folder):
        group = (each.func, each.data)
        canonical = each.name if each.func in APART else first.setdefault(group, each.name)
        flags = ",".join(
            flag.strip()[len("UWSGI_OPT_") :].lower()
            for flag in (each.flags or "").split("|")
            if flag.strip().startswith("UWSGI_OPT_")
        )
        kind = KINDS.get(each.func, "other")
        lines.setdefault(
            each.name,
            f"{each.name} {each.short} {kind} {canonical} {flags or '-'} {each.plugin} {each.takes}",
        )
    return list(lines.values())


if __name__ == "__main__":
    sys.stdout.write("\n".join(table(sys.argv[1])) + "\n")
