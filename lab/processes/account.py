"""Whom a server runs as that refuses to run as root, and the folder that it works in."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from typing import Any, Dict, Iterator, Mapping, Tuple

from .base import ToolMissing

QUIET: Dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def run_as(user: str) -> Dict[str, Any]:
    """Return the options of `subprocess` to run as `user` if this is root, none otherwise.

    Raises `ToolMissing` if there is no such user.
    """
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        msg = f"databases do not run as root, and there is no user {user}"
        raise ToolMissing(msg) from None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def folder_for(account: Mapping[str, Any], prefix: str) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Yield a temporary folder of an account, and how to start what works in it, without output."""
    folder = tempfile.mkdtemp(prefix=prefix)
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        yield folder, {**QUIET, "cwd": folder, **account}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
