"""All verbs behave alike: how an instance is named, `--json`, exit codes; docs/cli.md says so."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import subprocess
import sys

import pytest

from resilient_wsgi.cli import main, target
from resilient_wsgi.cli.main import VERBS, _parser, verb
from tools import cli_doc

# `doctor` looks at files
LOOKING = [name for name in VERBS if verb(name).JSON and name not in ("doctor", "explain")]
looking = pytest.mark.parametrize("name", LOOKING)
as_json = pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])


FIRST = {"limit": ("api.example:80",)}  # what a verb takes before the instance


def run(name, *arguments):
    """Return exit code, output and error output of the command."""
    arguments = (name, *FIRST.get(name, ()), *arguments)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as ended:  # argparse's
            code = ended.code
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_every_verb_that_looks_at_an_instance_is_in_the_table():
    assert {"status", "stacks", "report", "ready", "drain", "unstick"} <= set(LOOKING)


@looking
@as_json
def test_a_pid_of_no_process_is_code_2_and_said_on_standard_error(name, more, gone):
    assert run(name, gone, *more) == (
        2,
        "",
        f"resilient-wsgi {name}: there is no process {gone}\n",
    )


@looking
@as_json
@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "No such file"), ("", "holds '', not a pid"), ("uwsgi\n", "holds 'uwsgi', not a pid")],
    ids=["missing", "empty", "garbage"],
)
def test_a_pidfile_that_names_no_process_is_code_2(name, more, text, problem, tmp_path):
    path = tmp_path / "pid"
    if text is not None:
        path.write_text(text)
    code, out, err = run(name, "--pidfile", path, *more)
    assert (code, out) == (2, "")
    assert err.startswith(f"resilient-wsgi {name}: pidfile {path}")
    assert problem in err


@looking
@as_json
def test_a_process_that_is_no_server_is_code_2_or_not_stuck(name, more):
    process = subprocess.Popen(["sleep", "60"])
    try:
        code, out, err = run(name, process.pid, *more)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    if name == "unstick":  # any process can be stuck in its log
        assert (code, err) == (0, "")
    else:
        assert (code, out) == (2, "")
        assert f"process {process.pid} (sleep)" in err


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@looking
@as_json
def test_a_process_of_another_user_is_code_2_with_the_remedy(name, more, gone):
    run(name, gone)  # imports what another user may not be able to read
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.setuid(pwd.getpwnam("nobody").pw_uid)
            os.write(write, repr(run(name, os.getppid(), *more)).encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(child, 0)
    assert said.startswith("(2, '', 'resilient-wsgi ")
    assert "no permission to look at process" in said
    assert "run this as" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("api.example", "--lift", "12"),
        ("--lift", "api.example", "12"),
        ("api.example", "12", "--lift"),
        ("--json", "api.example", "--lift", "--", "12"),
    ],
)
def test_options_may_stand_anywhere(arguments):
    parsed = _parser(["limit"]).parse_args(["limit", *arguments])
    assert (parsed.host, parsed.pid, parsed.lift) == ("api.example", 12, True)


def test_the_value_of_an_option_stays_with_it():
    parsed = _parser(["limit"]).parse_args(["limit", "--pidfile", "f", "host", "--lift"])
    assert (parsed.host, parsed.pidfile, parsed.pid) == ("host", "f", None)


@looking
@pytest.mark.parametrize("arguments", [(), ("1", "--pidfile", "x"), ("uwsgi",)])
def test_no_target_and_two_of_them_are_a_usage_error(name, arguments):
    code, out, err = run(name, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"usage: resilient-wsgi {name} ")


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_says_what_its_exit_codes_and_fields_mean(name):
    module = verb(name)
    assert module.EXIT_CODES
    assert all(isinstance(code, int) and text for code, text in module.EXIT_CODES.items())
    if name in LOOKING:
        assert list(module.EXIT_CODES) == [0, 1, 2]


def test_what_comes_from_outside_is_escaped_and_without_secrets_in_json_too(monkeypatch):
    text = '\x1b[31m"https://user:secret@host/?token=secret" password="secret" \u20ac'

    def refuse(_arguments):
        raise target.CannotLook(text)

    monkeypatch.setattr(target, "master", refuse)
    _, _, err = run("status", os.getpid())
    assert "secret" not in err
    from argparse import Namespace

    from resilient_wsgi.cli.output import answer

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        answer(Namespace(json=True), {"a": [{"b": text, "c": 1.5, "d": None}]}, ())
    import json

    (found,) = json.loads(out.getvalue())["a"]
    assert (found["c"], found["d"]) == (1.5, None)
    assert "secret" not in found["b"]
    assert "\x1b" not in found["b"]
    assert "\u20ac" in found["b"]


def test_the_page_of_the_command_line_is_current():
    with open(cli_doc.PAGE, encoding="utf-8") as page:
        assert page.read() == cli_doc.render(), "run make cli-doc"
