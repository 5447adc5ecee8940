"""Examples and near cases of rules: written short, and completed to whole configurations."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from resilient_wsgi.doctor.read.uwsgi_options import shipped

# what a good configuration has besides what its example is about: no rule may warn about it
BASE = """
strict = true
master = true
module = app
need-app = true
single-interpreter = true
die-on-term = true
vacuum = true
processes = 4
socket = 127.0.0.1:3031
listen = 1024
harakiri = 30
max-fd = 65536
buffer-size = 32768
py-call-uwsgi-fork-hooks = true
uid = www-data
gid = www-data
"""


def ini(*lines, **more):
    """Return the files of a case whose uwsgi.ini has these lines."""
    return {"uwsgi.ini": "\n".join(["[uwsgi]", *lines, ""]), **more}


def completed(files):
    """Return the files of a good example, its uwsgi.ini with the options of BASE that it does not
    set itself.
    """
    return {name: _completed(text) if "[uwsgi]\n" in text else text for name, text in files.items()}


def _completed(text):
    table = shipped()
    there = {table.canonical(line.partition("=")[0].strip()) for line in text.split("\n")}
    if there & {"http-socket", "http", "uwsgi-socket"}:
        there.add("socket")
    more = [
        line
        for line in BASE.strip().split("\n")
        if table.canonical(line.partition("=")[0].strip()) not in there
    ]
    return text.replace("[uwsgi]\n", "\n".join(["[uwsgi]", *more, ""]), 1)


def near_cases():
    """Return the cases of all files in cases/: (code, files, whether the rule fires, or the severity)."""
    found = []
    for path in sorted((Path(__file__).parent / "cases").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.CASES
    return found
