"""The doctor's reader of uwsgi.ini beside uWSGI's own `--show-config`, on the corpus (3 minutes).

uWSGI runs as nobody, without a network, with an empty environment, and is killed after 2 s. Lines
that run commands, write files or change how the configuration is printed are taken out before, for
both.
"""

from __future__ import annotations

import contextlib
import difflib
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import List, Optional, Tuple

from bench.doctor import corpus
from resilient_wsgi.doctor.files import read_text
from resilient_wsgi.doctor.read import uwsgi_export
from resilient_wsgi.doctor.read.uwsgi_placeholders import Host
from resilient_wsgi.doctor.subject import Source

Pairs = List[Tuple[str, str]]
NOBODY = pwd.getpwnam("nobody")
TAKEN_OUT = re.compile(
    r"^\s*(exec-|hook-|call-|daemonize|log-?to|log-(date|encoder|micros|prefix|format-strf)|logdate|"
    r"req-log|logger|threaded-log|log-master|pidfile|safe-pid|attach-|smart-attach|legion|u?mount|"
    r"unmount|emperor|chroot|immediate-|jail|unshare|(need-)?plugin|dlopen|[ug]id|privileged|alarm|"
    r"i?print|fs-|ns|namespace|pivot|on-|pre-|post-jail|as-|strict|show-config|get|setns|refork|"
    r"fallback|stats-push)|@\(\w+://"
)
PRINTED = re.compile(
    r";uWSGI instance configuration\n\[uwsgi\]\n(.*?);end of configuration", re.DOTALL
)
SECONDS = 2


def main() -> int:
    same = total = exact = shown = 0
    refused: List[str] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for number, file in enumerate(each for each in corpus.files() if is_ini(each.place)):
            path = copied(file.place, os.path.join(folder, str(number)))
            theirs = by_uwsgi(path)
            if theirs is None:
                refused.append(os.path.relpath(file.place, corpus.FOLDER))
                continue
            ours = by_doctor(path)
            blocks = difflib.SequenceMatcher(
                None, ours, theirs, autojunk=False
            ).get_matching_blocks()
            same += sum(each.size for each in blocks)
            total += max(len(ours), len(theirs))
            shown += 1
            exact += ours == theirs
            if ours != theirs:
                print(file.place, *sorted(set(ours) ^ set(theirs)), sep="\n    ")
    print(
        f"{exact} of {shown} files the same, {same} of {total} options ({100 * same / total:.2f} %)"
    )
    print(f"uWSGI shows no configuration for {len(refused)}: {', '.join(refused)}")
    return 0 if same >= 0.99 * total else 1


def is_ini(path: str) -> bool:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return re.search(r"^\s*\[uwsgi\]", file.read(), re.MULTILINE) is not None


def copied(path: str, folder: str) -> str:
    """Copy a file with those beside it, which it may include."""
    os.mkdir(folder)
    beside = os.path.dirname(path)
    for name in os.listdir(beside):
        with contextlib.suppress(OSError, ValueError):
            lines = read_text(os.path.join(beside, name)).split("\n")
            kept = ["; taken out" if TAKEN_OUT.search(line) else line for line in lines]
            with open(
                os.path.join(folder, name),
                "w",
                encoding="utf-8",
                errors="surrogateescape",
                newline="",
            ) as out:
                out.write("\n".join(kept))
    return os.path.join(folder, os.path.basename(path))


def by_uwsgi(path: str) -> Optional[Pairs]:
    """Return the options that uWSGI prints, None if it ends before."""
    uwsgi = shutil.which("uwsgi", path=os.path.dirname(sys.executable)) or "uwsgi"
    command = [
        *(
            "unshare",
            "--net",
            "setpriv",
            "--reuid",
            str(NOBODY.pw_uid),
            "--regid",
            str(NOBODY.pw_gid),
        ),
        *(
            "--clear-groups",
            "env",
            "-i",
            "PATH=/usr/bin:/bin",
            uwsgi,
            "--show-config",
            "--ini",
            path,
        ),
    ]
    process = subprocess.Popen(
        command,
        cwd=os.path.dirname(path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0]
    found = PRINTED.search(output.decode("utf-8", "surrogateescape"))
    if found is None:
        return None
    lines = [line.partition(" = ") for line in found[1].split("\n") if " = " in line]
    return [(name, value) for name, _, value in lines][2:]  # after show-config and ini


def by_doctor(path: str) -> Pairs:
    """Return the options that the doctor reads, told what that uWSGI knows of its host."""
    magic = {
        "v": os.path.dirname(path),
        "h": socket.gethostname(),
        "k": str(os.cpu_count()),
        "u": str(NOBODY.pw_uid),
        "U": NOBODY.pw_name,
        "g": str(NOBODY.pw_gid),
        "G": grp.getgrgid(NOBODY.pw_gid).gr_name,
    }
    host = Host({"PATH": "/usr/bin:/bin"}, magic, at_file)
    config = uwsgi_export.read(Source(path, read_text(path)), beside, host=host)
    return [(each.name, each.value) for each in config.options]


def at_file(path: str) -> Optional[str]:
    """Return what uWSGI puts for `@(path)`."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().rstrip("\n")
    except OSError:
        return None


def beside(path: str, within: str) -> Optional[Source]:
    full = os.path.join(os.path.dirname(within), path) if path else within
    try:
        return Source(full, read_text(full))
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
