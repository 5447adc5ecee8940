"""The matrix: every CPython, both urllib3 lines, both ends of Django."""

from __future__ import annotations

import nox

PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
SERVERS = ["3.9", "3.13", "3.15"]

nox.options.sessions = ["unit", "servers"]
nox.options.error_on_missing_interpreters = False  # shown as skipped
nox.options.default_venv_backend = "venv"


def _install(session: nox.Session, *more: str) -> None:
    # uWSGI has only an sdist, which on old Pythons needs these two to be built
    session.install("setuptools", "wheel")
    session.install("-e", ".[test]", *more)


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """Run the unit tests."""
    _install(session)
    session.run("pytest", "-n", "3", "tests/unit", *session.posargs)


@nox.session(python=SERVERS)
def servers(session: nox.Session) -> None:
    """Run what drives real servers."""
    _install(session)
    session.run(
        "pytest", "-n", "3", "tests/servers", "tests/incidents", "tests/harm", *session.posargs
    )


@nox.session(python=["3.11"])
@nox.parametrize("urllib3", ["urllib3<2", "urllib3>=2"])
def clients(session: nox.Session, urllib3: str) -> None:
    """Run the tests of the HTTP clients with both lines of urllib3."""
    _install(session, urllib3)
    session.run("pytest", "tests/unit", "-k", "outbound", *session.posargs)


@nox.session(python=["3.9"])
def oldest_clients(session: nox.Session) -> None:
    """Run the tests of the HTTP clients with the oldest versions that are limited."""
    _install(
        session, "aiohttp==3.9.1", "httpx==0.25.0", "requests==2.28.0", "trio==0.22.2", "urllib3<2"
    )
    session.run("pytest", "tests/unit/outbound", *session.posargs)


@nox.session(python=["3.11"])
def niquests(session: nox.Session) -> None:
    """Run the tests of urllib3-future, which takes the place of urllib3 in the environment."""
    _install(session, "niquests>=3.10")
    session.run("python", "-c", "import urllib3")  # it does so at the start of an interpreter
    session.run("pytest", "tests/unit/outbound/test_urllib3_future.py", *session.posargs)


@nox.session(python=["3.11"])
@nox.parametrize("django", ["django>=4.2,<5", "django>=5"])
def django(session: nox.Session, django: str) -> None:
    """Run the tests of the front doors with the oldest and the newest Django."""
    _install(session, django)
    session.run("pytest", "tests/unit/test_front_doors.py", *session.posargs)
