"""The uWSGI that is installed: the one of our own environment, or the one on PATH.

It is asked for its version and its options, and nothing else; no file that is looked at decides
which one that is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import FrozenSet, Optional

_SECONDS = 5
_NAME = re.compile(r"^ +(?:-.\|)?--([a-zA-Z0-9_-]+)", re.MULTILINE)


def version() -> Optional[str]:
    """Return its version, None if there is no uWSGI."""
    return _answer("--version").strip().partition("\n")[0] or None


def options() -> FrozenSet[str]:
    """Return the names of its options, those of its plugins, too."""
    return frozenset(_NAME.findall(_answer("--help")))


def _answer(question: str) -> str:
    own = os.path.join(sys.prefix, "bin", "uwsgi")
    path = own if os.access(own, os.X_OK) else shutil.which("uwsgi")
    if path is None or not os.path.isabs(path):  # a PATH with "." would run what is looked at
        return ""
    try:
        # uWSGI takes UWSGI_... in the environment for options
        done = subprocess.run(  # noqa: S603 - two questions, asked of the program that is installed
            [path, question],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")
