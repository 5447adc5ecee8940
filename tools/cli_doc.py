"""Write docs/cli.md from the verbs themselves: `python -m tools.cli_doc > docs/cli.md`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Iterator, List, Mapping

from resilient_wsgi.cli.main import VERBS, summary, verb
from tools.page import cell, print_or_check

if TYPE_CHECKING:
    from resilient_wsgi.cli.main import Verb

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "cli.md")
HEAD = """# Command line

`resilient-wsgi VERB`, or `python -m resilient_wsgi VERB`. This page is generated from the verbs.

| verb | what it is for |
| --- | --- |
{verbs}

## Name the instance

Every verb that looks at a running instance takes the pid of its master or of one of its workers, or
a pidfile:

```console
$ resilient-wsgi status 4242
$ resilient-wsgi status --pidfile /run/mysite/uwsgi.pid
```

Run it as the user of the instance, or as root, on the same host and in the same network namespace.

## Use it in scripts

- Exit code 0: well. 1: not well. 2: could not look (no such process, no permission, not an instance
  with this library, wrong usage).
- With `--json` the answer is one line of JSON on standard output. Later versions may add fields;
  the fields below stay.
- If a verb could not look, standard output is empty, and standard error says why, with or without
  `--json`.
- Texts that come from the instance (paths, command lines, errors) are escaped. What looks like a
  secret is removed.
"""


def render() -> str:
    """Return the page."""
    names = "\n".join(f"| [`{name}`](#{name}) | {cell(summary(verb(name)))} |" for name in VERBS)
    return "\n".join([HEAD.format(verbs=names), *(_section(name, verb(name)) for name in VERBS)])


def _section(name: str, module: Verb) -> str:
    parser = argparse.ArgumentParser(prog=f"resilient-wsgi {name}", add_help=False)
    module.add_arguments(parser)
    parts = [f"## {name}\n", f"{(module.__doc__ or '').strip()}\n"]
    parts += ["| argument | default | what it does |\n| --- | --- | --- |", *_arguments(parser)]
    parts += ["\n| exit code | meaning |\n| --- | --- |"]
    parts += [f"| {code} | {cell(text)} |" for code, text in module.EXIT_CODES.items()]
    if module.JSON:
        parts += ["\n| field with `--json` | meaning |\n| --- | --- |", *_fields(module.JSON)]
    return "\n".join(parts) + "\n"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        name = " ".join(filter(None, (", ".join(action.option_strings), _metavar(action))))
        default = "" if action.default in (None, False) else f"`{action.default}`"
        text = (action.help or "") % {"default": action.default}
        yield f"| `{name}` | {default} | {cell(text)} |"


def _metavar(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = str(action.metavar or action.dest.upper())
    return f"[{name}]" if action.nargs == "?" and action.option_strings else name


def _fields(fields: Mapping[str, str]) -> Iterator[str]:
    for path, text in fields.items():
        yield f"| `{path}` | {cell(text)} |"


def main(arguments: List[str]) -> int:
    """Print the page, or with `--check FILE` tell whether the file is current."""
    return print_or_check(arguments, render(), "cli-doc")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
