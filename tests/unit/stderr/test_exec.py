"""`resilient-wsgi exec`: whatever it starts has a standard output and error that cannot block."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHIM = """
import argparse, sys
from resilient_wsgi.cli import exec as shim
parser = argparse.ArgumentParser()
shim.add_arguments(parser)
sys.exit(shim.run(parser.parse_args(sys.argv[1:])))
"""


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*words, **streams):
    return subprocess.run([sys.executable, "-c", SHIM, *words], timeout=60, check=False, **streams)


def test_what_it_starts_cannot_block_on_its_log(pipe):
    code = "import os\ntry:\n    while True: os.write(2, b'x' * 4096)\nexcept BlockingIOError: pass\nos.write(1, b'')"
    assert (
        start(
            "--take-over",
            "--",
            sys.executable,
            "-c",
            code,
            stdout=pipe.write_end,
            stderr=pipe.write_end,
        ).returncode
        == 0
    )
    assert len(pipe.read()) == 65536
    assert os.get_blocking(pipe.write_end)


def test_arguments_and_exit_code_are_the_commands_own(pipe):
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    done = start(
        "--",
        sys.executable,
        "-c",
        code,
        "--share",
        "--",
        "x",
        stdout=subprocess.PIPE,
        stderr=pipe.write_end,
    )
    assert done.returncode == 7
    assert done.stdout == b"['--share', '--', 'x']\n"


def test_the_command_has_sigpipe_as_it_would_have_had_it(pipe):
    done = start(
        "sh", "-c", "kill -s PIPE $$; echo survived", stdout=subprocess.PIPE, stderr=pipe.write_end
    )
    assert (done.returncode, done.stdout) == (-13, b"")


@pytest.mark.parametrize(
    ("command", "code", "words"), [("/does/not/exist", 127, b"No such file"), ("/", 126, b"denied")]
)
def test_a_command_that_cannot_be_started_is_said(pipe, command, code, words):
    assert start("--", command, stdout=pipe.write_end, stderr=pipe.write_end).returncode == code
    assert words in pipe.read()


def test_no_command_is_said(pipe):
    assert start(stdout=pipe.write_end, stderr=pipe.write_end).returncode == 2
    assert b"needs a command" in pipe.read()


def test_a_file_is_left_as_it_is(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        assert start("echo", "hello", stdout=log, stderr=log).returncode == 0
    assert (tmp_path / "log").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("words", "expected"), [([], "resilient_wsgi.stderr.shared_import"), (["--bare"], "")]
)
def test_uwsgi_is_told_to_import_the_streams_unless_it_is_to_be_bare(pipe, words, expected):
    code = "import os; print(os.environ.get('UWSGI_SHARED_IMPORT', ''))"
    done = start(
        *words, "--", sys.executable, "-c", code, stdout=subprocess.PIPE, stderr=pipe.write_end
    )
    assert done.stdout.decode().strip() == expected


@pytest.mark.parametrize("how", ["script", "module", "python script"])
def test_a_python_program_is_run_with_streams_that_cannot_block_and_starts_itself_again_behind_the_shim(
    tmp_path, pipe, how
):
    code = """
    import os, sys
    print(type(sys.stdout).__name__, sys.argv[1:], __name__, os.get_blocking(1))
    if "again" not in sys.argv:
        os.execvpe(sys.executable, [sys.executable, *sys.argv, "again"], os.environ)
    """
    script = tmp_path / "program.py"
    script.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
    script.chmod(0o755)
    command = {
        "script": [str(script)],
        "module": [sys.executable, "-m", "program"],
        "python script": [sys.executable, str(script)],
    }[how]
    done = start(
        "--",
        *command,
        "x",
        stdout=subprocess.PIPE,
        stderr=pipe.write_end,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.stdout.decode().splitlines() == [
        "NonBlockingStream ['x'] __main__ True",
        "NonBlockingStream ['x', 'again'] __main__ True",
    ]
    assert pipe.read() == b""


def test_a_shell_is_started_as_it_is_and_that_it_can_block_is_said(pipe):
    done = start("--", "sh", "-c", "echo started", stdout=subprocess.PIPE, stderr=pipe.write_end)
    assert done.stdout == b"started\n"
    assert b"sh is neither uWSGI nor a Python program" in pipe.read()
