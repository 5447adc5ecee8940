"""What the command of `resilient-wsgi exec` is: uWSGI, a Python program of this environment, or
something else.
"""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import sys
from typing import Any, Callable, List, Optional, Sequence

from ..core.patching import Patches

AGAIN = ("-m", "resilient_wsgi", "exec", "--")


def is_uwsgi(command: Sequence[str]) -> bool:
    """Return whether the command is uWSGI, by its name."""
    return os.path.basename(command[0]).startswith(("uwsgi", "pyuwsgi"))


class PythonProgram:
    """A program that this interpreter can run in this very process: a script (gunicorn's,
    granian's), or a module.
    """

    def __init__(self, path: str, arguments: Sequence[str], *, is_module: bool = False) -> None:
        self._path = path
        self._arguments = list(arguments)
        self._is_module = is_module
        self._patches = Patches()

    def __repr__(self) -> str:
        return f"<PythonProgram {'-m ' * self._is_module}{self._path}>"

    def run(self) -> None:
        """Be that program."""
        sys.argv = [self._path, *self._arguments]
        self._patches.wrap(os, "execvpe", self._exec_again)
        if self._is_module:
            sys.path[0] = os.getcwd()  # as `python -m` does
            runpy.run_module(self._path, run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(self._path)
            runpy.run_path(self._path, run_name="__main__")

    def _exec_again(self, original: Callable[..., Any]) -> Callable[..., Any]:
        # gunicorn replaces its arbiter (SIGUSR2) by this interpreter with that script: behind the
        # shim again
        def execvpe(file: Any, words: Any, env: Any) -> Any:
            # runpy makes a path of a module's name
            if list(words[:2]) == [sys.executable, sys.argv[0]]:
                program = [sys.executable, "-m", self._path] if self._is_module else [self._path]
                words = [sys.executable, *AGAIN, *program, *words[2:]]
            return original(file, words, env)

        return execvpe


def python_program(command: Sequence[str]) -> Optional[PythonProgram]:
    """Return the program if it is one of this environment's, `None` if it is another: C code, a
    shell's, another Python's.
    """
    path = shutil.which(command[0])
    if path is None:
        return None
    if not _is_this_python(path):
        return (
            PythonProgram(os.path.abspath(path), command[1:])
            if _is_this_python(_interpreter(path))
            else None
        )
    if command[1:2] == ["-m"] and len(command) > 2:
        return PythonProgram(command[2], command[3:], is_module=True)
    if len(command) > 1 and not command[1].startswith("-"):
        return PythonProgram(os.path.abspath(command[1]), command[2:])
    return None


def _is_this_python(path: str) -> bool:
    # a virtual environment's is a link to the interpreter that it was made from: so by its folder,
    # not by what it leads to
    try:
        same_folder = os.path.samefile(
            os.path.dirname(path) or ".", os.path.dirname(sys.executable)
        )
        return same_folder and os.path.samefile(path, sys.executable)
    except OSError:
        return False


def _interpreter(path: str) -> str:
    """Return the interpreter that a script's first line names, `""` for none."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    if not head or not head[0].startswith("#!"):
        return ""
    words: List[str] = head[0][2:].split()
    if words and os.path.basename(words[0]) == "env":
        words = [shutil.which(word) or "" for word in words[1:2]]
    if words and words[0] == "/bin/sh" and len(head) > 1 and head[1].startswith("'''exec'"):
        # pip's, for an interpreter whose path is too long for a first line
        words = shlex.split(head[1][3:])[1:]
    return words[0] if words else ""
