"""Where private directories may lie: the place that systemd made for the service, memory, the
user's own, the disk.
"""

from __future__ import annotations

import os
import stat

# not from typing: importing that takes an exec probe 2 ms
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Mapping

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what lies there is checked by `directory`


def bases(environment: Mapping[str, str], euid: int) -> Iterator[str]:
    """Yield the folders in which a directory of this user can be made, the best first.

    All processes of an instance have the same environment and user, and so the same folders.
    """
    for path in dict.fromkeys(_wanted(environment)):
        if os.path.isabs(path) and _usable(path, euid):
            yield path


def _wanted(environment: Mapping[str, str]) -> List[str]:
    return [
        # systemd.exec(5): one for each name in RuntimeDirectory=
        *environment.get("RUNTIME_DIRECTORY", "").split(":"),
        SHARED_MEMORY,
        # logind removes it when the user's last session ends, also under a service that was started
        # from one
        environment.get("XDG_RUNTIME_DIR", ""),
        environment.get("TMPDIR", ""),
        "/tmp",  # noqa: S108
        "/var/tmp",  # noqa: S108
    ]


def _usable(path: str, euid: int) -> bool:
    """Return whether this user can make a directory there that only root can take away."""
    try:
        about = os.stat(path)
        writable = os.access(path, os.W_OK | os.X_OK, effective_ids=True)
    except OSError:
        return False
    others_write = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    safe = about.st_uid in (0, euid) and (not others_write or about.st_mode & stat.S_ISVTX)
    return bool(stat.S_ISDIR(about.st_mode) and safe and writable)
