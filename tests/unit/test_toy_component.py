"""A component is one package, one options class, one line: with these it has everything."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading

import pytest

import resilient_wsgi
from resilient_wsgi import cli, installation
from resilient_wsgi.cli.main import VERBS
from resilient_wsgi.component import Component, Context
from resilient_wsgi.core.patching import is_ours
from resilient_wsgi.settings import options as settings
from resilient_wsgi.settings.section import Section, mode, option
from resilient_wsgi.settings.sources import find
from resilient_wsgi.settings.types import Integer
from resilient_wsgi.testing import off

COMPONENT = '''
"""A toy that spins."""

import threading
from functools import partial

from ..component import Component, Layer
from ..core.middleware import {gate}
from ..errors import Unavailable


class Answering({gate}):
    paths = frozenset(["/spin"])

    def __init__(self, app, turns):
        super().__init__(app)
        self._turns = turns

    def answer(self, environ, start_response):
        return [b"spin " * self._turns] if environ["PATH_INFO"] == "/spin" else None


class Toy(Component):
    """Spins."""

    name = "toy"

    def install(self, options):
        if options.turns > 100:
            raise Unavailable("it would break")
        self.turns = options.turns
        self.context.patches.wrap(threading.Thread, "getName", lambda original: original)
        return [f"{{options.turns}} turns"]

    def layer(self, options):
        return Layer(gate=partial(Answering, turns=options.turns))

    def verbs(self):
        return {{"spin": "toy.spin"}}
'''
VERB = '''
"""Spin."""

EXIT_CODES = {0: "it has spun"}
JSON = {}


def add_arguments(parser):
    parser.add_argument("--turns", type=int, default=1)


def run(arguments):
    print("spun", arguments.turns)
    return 0
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The package, the options class and the line."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A toy."""\n')
    (folder / "component.py").write_text(COMPONENT.format(gate=GATE))
    (folder / "spin.py").write_text(VERB)
    monkeypatch.setattr(resilient_wsgi, "__path__", [*resilient_wsgi.__path__, str(tmp_path)])

    class Toy(Section):
        """Waits for toys."""

        mode: str = mode("nothing spins.")
        turns: int = option(3, Integer(at_least=1), "Turns of the toy.")

    monkeypatch.setattr(installation, "COMPONENTS", (*installation.COMPONENTS, "toy.component:Toy"))
    yield Toy
    Toy.forget()
    for name in [name for name in sys.modules if name.startswith("resilient_wsgi.toy")]:
        del sys.modules[name]


GATE = next(
    name for name in ("ShortCircuitMiddleware", "Gate")
    if hasattr(importlib.import_module("resilient_wsgi.core.middleware"), name)
)  # fmt: skip


@pytest.fixture
def installed(toy):
    """Install, and uninstall at the end."""
    del toy
    yield resilient_wsgi.install
    current = installation.current()
    if current is not None:
        current.uninstall()


def ask(app, path):
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": ""}
    return b"".join(app(environ, lambda *_: None))


def status_of(installed):
    return {each.name: each for each in installed.status()}["toy"]


def test_it_has_settings_environment_variables_and_a_status_line(toy, installed, monkeypatch):
    assert str(status_of(installed())) == "toy: on (enforce); 3 turns"
    assert str(status_of(installed({"TOY": {"TURNS": 5}}))) == "toy: on (enforce); 5 turns"
    assert str(status_of(installed({"TOY": {"TURNS": 500}}))) == "toy: off; it would break"
    assert find(environ={"RESILIENT_WSGI_TOY_TURNS": "7"}).settings[toy] == toy(turns=7)
    monkeypatch.setenv("RESILIENT_WSGI_TOY", "off")
    assert str(status_of(installed({}))) == "toy: off; RESILIENT_WSGI_TOY=off in the environment"


def test_it_is_around_apps_that_are_wrapped(installed):
    installed({"TOY": {"TURNS": 2}})
    app = resilient_wsgi.wrap(lambda *_: [b"the app"])
    assert [ask(app, "/spin"), ask(app, "/")] == [b"spin spin ", b"the app"]
    installed({"TOY": "off"})
    assert ask(resilient_wsgi.wrap(lambda *_: [b"the app"]), "/spin") == b"the app"


def test_it_has_a_verb(toy, capsys):
    del toy
    assert cli.main(["spin", "--turns", "4"]) == 0
    assert capsys.readouterr().out == "spun 4\n"
    assert cli.main([]) == 2
    assert "  spin     Spin.\n" in capsys.readouterr().err


def test_uninstalling_restores_what_it_has_patched(installed):
    first = installed()
    assert is_ours(threading.Thread.getName)
    with off():
        assert not is_ours(threading.Thread.getName)
    assert is_ours(threading.Thread.getName)
    first.uninstall()
    assert not is_ours(threading.Thread.getName)


def test_switched_off_it_is_not_imported(installed):
    installed({"TOY": "off"})
    resilient_wsgi.wrap(lambda *_: [])
    assert "resilient_wsgi.toy" not in sys.modules


# Of all components


@pytest.mark.parametrize("path", installation.COMPONENTS)
def test_a_component_is_named_as_its_class_and_has_a_section_and_known_verbs(path):
    module, _, name = path.partition(":")
    kind = getattr(importlib.import_module(f"resilient_wsgi.{module}"), name)
    assert issubclass(kind, Component)
    assert (kind.name, name) == (name.lower(), name.capitalize())
    assert name.upper() in settings.SECTIONS
    component = kind(Context(kind.name))
    for verb, where in component.verbs().items():
        assert VERBS[verb] == where, "an exec probe finds a verb without importing a component"


@pytest.mark.parametrize("path", installation.COMPONENTS)
def test_a_component_that_is_off_is_not_imported(path):
    module, _, name = path.partition(":")
    code = f"""
import sys, resilient_wsgi
resilient_wsgi.install({{{name.upper()!r}: "off"}})
resilient_wsgi.wrap(lambda *_: [])
print("resilient_wsgi.{module}" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
