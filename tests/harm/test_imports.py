"""A part of the library that cannot be imported is off and says so; the app starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules[{missing!r}] = None
import resilient_wsgi
installation = resilient_wsgi.install()
app = resilient_wsgi.wrap(lambda environ, start_response: [b"answered"])
environ = dict(REQUEST_METHOD="GET", PATH_INFO="/", SCRIPT_NAME="")
print(*app(environ, None))
print({{status.name: status.on for status in installation.status()}}["outbound"])
print(*installation.status(), sep=chr(10), file=sys.stderr)
installation.uninstall()
"""


def run(missing: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", PROGRAM.format(missing=missing)]
    return subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("missing", ["ssl", "_ssl", "_ctypes"])
def test_a_python_that_was_built_without_a_library_runs_the_app_with_its_limits(
    missing: str,
) -> None:
    done = run(missing)
    assert (done.returncode, done.stdout.split()) == (0, ["b'answered'", "True"]), done.stderr


def test_a_component_that_cannot_be_imported_is_off_and_the_app_starts() -> None:
    done = run("resilient_wsgi.outbound.component")
    assert (done.returncode, done.stdout.split()) == (0, ["b'answered'", "False"]), done.stderr
    assert "outbound: off; ModuleNotFoundError" in done.stderr
