"""`load`: an app by its name, and what is said of a wrong one."""

from __future__ import annotations

import sys

import pytest

from resilient_wsgi.readiness import app_by_name, load


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package `loadable_shop` with a module `wsgi`."""
    package = tmp_path / "loadable_shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wsgi.py").write_text(
        "def application(environ, start_response): ...\n"
        "def make(): return application\n"
        "class nested: app = staticmethod(application)\n"
        "text = 'text'\n"
    )
    (package / "broken.py").write_text("import loadable_shop.no_such\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("loadable_shop")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "spec",
    [
        "loadable_shop.wsgi",
        "loadable_shop.wsgi:application",
        "loadable_shop.wsgi:make()",
        "loadable_shop.wsgi:nested.app",
    ],
)
def test_an_app_is_found_by_its_name(shop, spec):
    assert app_by_name.find(spec).__name__ == "application"


def test_what_is_loaded_has_the_middleware_around_it(shop):
    assert load("loadable_shop.wsgi").__wrapped__.__name__ == "application"


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("loadable_shop.wsgy", ModuleNotFoundError, "did you mean 'loadable_shop.wsgi'"),
        (
            "loadable_shpo.wsgi",
            ModuleNotFoundError,
            "no module 'loadable_shpo' .*did you mean 'loadable_shop'",
        ),
        ("loadable_shop.wsgi:aplication", AttributeError, "did you mean 'application'"),
        ("loadable_shop.wsgi:nested.ap", AttributeError, "did you mean 'app'"),
        ("loadable_shop.wsgi:text", TypeError, "'text' cannot be called"),
        ("loadable_shop/wsgi.py", ValueError, "did you mean 'loadable_shop.wsgi'"),
        (
            "loadable_shop/wsgi.py:application",
            ValueError,
            "did you mean 'loadable_shop.wsgi:application'",
        ),
        (
            "loadable_shop.wsgi: application",
            ValueError,
            "did you mean 'loadable_shop.wsgi:application'",
        ),
        ("", ValueError, "package.module:attribute"),
        ("a:b:c", ValueError, "package.module:attribute"),
        (None, ValueError, "package.module:attribute"),
    ],
)
def test_a_wrong_name_gets_the_error_of_the_right_kind_with_the_nearest_name(
    shop, spec, kind, message
):
    with pytest.raises(kind, match=message):
        app_by_name.find(spec)


def test_what_the_app_itself_fails_to_import_comes_out_as_it_is(shop):
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'loadable_shop\.no_such'$"):
        app_by_name.find("loadable_shop.broken")
