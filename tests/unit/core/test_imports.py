"""Callbacks after imports: once, in the module's final state, and invisible to who imports it."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading

import pytest

from resilient_wsgi.core.imports import ImportHooks


@pytest.fixture
def hooks():
    made = ImportHooks()
    yield made
    if made in sys.meta_path:
        sys.meta_path.remove(made)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that makes a module, of a name that is gone after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name, text="value = 1\n"):
        path = tmp_path.joinpath(*name.split(".")[:-1])
        path.mkdir(exist_ok=True)
        if path != tmp_path:
            (path / "__init__.py").touch()
        (path / f"{name.split('.')[-1]}.py").write_text(text)
        made.extend([name, name.split(".", maxsplit=1)[0]])
        importlib.invalidate_caches()
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["imports_a", "imports_b.inner"])
def test_who_waits_is_called_once_when_the_module_is_complete(hooks, module, name):
    seen = []
    hooks.add(module(name), lambda made: seen.append((made.__name__, made.value)))
    assert seen == []
    importlib.import_module(name)
    importlib.reload(sys.modules[name])
    assert seen == [(name, 1)]


def test_a_module_that_is_there_calls_back_at_once(hooks, module):
    importlib.import_module(module("imports_c"))
    seen = []
    hooks.add("imports_c", seen.append)
    assert seen == [sys.modules["imports_c"]]


def test_who_asks_while_it_is_imported_is_called_at_its_end(hooks, module, monkeypatch):
    seen = []
    monkeypatch.setattr(
        sys,
        "ask",
        lambda: hooks.add("imports_d", lambda made: seen.append(made.value)),
        raising=False,
    )
    hooks.add(
        module("imports_d", "import sys\nsys.ask()\nvalue = 2\n"),
        lambda made: seen.append(made.value),
    )
    importlib.import_module("imports_d")
    assert seen == [2, 2]


def test_the_module_has_its_own_loader(hooks, module):
    plain, watched = importlib.import_module(module("imports_e")), module("imports_f")
    hooks.add(watched, lambda made: None)
    made = importlib.import_module(watched)
    assert type(made.__loader__) is type(made.__spec__.loader) is type(plain.__loader__)
    assert inspect.getsource(made) == "value = 1\n"


def test_a_module_that_fails_or_is_not_there_fails_as_it_would_and_may_be_tried_again(
    hooks, module, tmp_path
):
    seen = []
    hooks.add("imports_none", seen.append)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("imports_none")
    hooks.add(module("imports_g", "1 / 0\n"), seen.append)
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("imports_g")
    module("imports_g", "value = 10\n")
    sys.modules.pop("imports_g", None)
    assert [made.value for made in seen or [importlib.import_module("imports_g")]] == [10]
    assert [made.__name__ for made in seen] == ["imports_g"]


def test_a_callback_that_fails_does_not_fail_the_import(hooks, module, caplog):
    hooks.add(module("imports_h"), lambda made: 1 / 0)
    assert importlib.import_module("imports_h").value == 1
    assert "error inside resilient_wsgi after the import of imports_h" in caplog.text


def test_imports_in_many_threads_at_once_each_call_back_once(hooks, module):
    names = [module(f"imports_many_{n}", "import time\ntime.sleep(0.001)\n") for n in range(40)]
    seen = []
    for name in names:
        hooks.add(name, lambda made: seen.append(made.__name__))
    threads = [
        threading.Thread(target=lambda: [importlib.import_module(name) for name in names])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(names)
