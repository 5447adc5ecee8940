"""The private directory of another instance, for command-line tools: read, never written to,
locked or waited for.
"""

from __future__ import annotations

import contextlib
import os
from collections import namedtuple

from ..errors import Unavailable
from ..host import procfs
from .directory import Directory, open_private
from .folders import bases
from .naming import PREFIX, Name, parse

# not from typing: importing that takes an exec probe 2 ms
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Set


class _Process(namedtuple("_Process", "pid parent uid inner_pid")):  # noqa: PYI024 - as above
    __slots__ = ()
    pid: int
    parent: int
    uid: int  # effective
    inner_pid: int  # in its own pid namespace


def find(pid: int) -> Directory:
    """Return the directory, read-only, of the instance that a process belongs to: its master, or
    one of its workers.

    First among what that process and its children have open, which holds across containers and
    chroots; where that cannot be seen, by its name in the folders of this process. It is one of the
    user as whom the process runs, or it is not taken.

    Raises `ProcessLookupError`, `PermissionError` where it cannot be seen, `Unavailable` where
    there is none.
    """
    target = _process(pid)
    if target is None:
        msg = f"there is no process {pid}"
        raise ProcessLookupError(msg)
    children = map(_process, procfs.children(pid))
    family = [target, *(child for child in children if child is not None)]
    uids = {process.uid for process in family}
    masters = {target.inner_pid: procfs.start(pid)}
    parent = _process(target.parent)
    if parent is not None and _same_program(pid, parent.pid):
        masters[parent.inner_pid] = procfs.start(parent.pid)
    # the workers first: the master may be root and have one of its own
    found = next(
        filter(None, (_among_descriptors(process, masters) for process in reversed(family))), None
    )
    found = found or _by_name(pid, uids, masters)
    if found is not None:
        return found
    if not os.access(f"/proc/{pid}/fd", os.R_OK, effective_ids=True):
        msg = (
            f"no permission to look at the files of process {pid}: run this as its user, or as root"
        )
        raise PermissionError(msg)
    msg = (
        f"the instance of process {pid} has no shared files: "
        "is resilient_wsgi installed in its app?"
    )
    raise Unavailable(msg)


def _same_program(pid: int, other: int) -> bool:
    """Return whether two processes run the same program, as a master and its worker do; True where
    that is not to be seen.

    What starts an instance may be a process with a directory of its own.
    """
    mine, its = procfs.exe(pid), procfs.exe(other)
    return not mine or not its or mine == its


def _among_descriptors(process: _Process, masters: Dict[int, int]) -> Optional[Directory]:
    links: Dict[int, str] = {}
    with contextlib.suppress(OSError):
        links = procfs.links(process.pid)
    for fd, path in links.items():
        with contextlib.suppress(OSError):
            link = f"/proc/{process.pid}/fd/{fd}"
            name = parse(os.path.basename(path))
            # in a user or time namespace, uid and start are others than those that are seen from
            # here
            if name and name.master_pid in masters:
                found = open_private(link, process.uid, read_only=True, follow=True)
                if found is not None:
                    found.path = path
                    return found
    return None


def _by_name(pid: int, uids: Set[int], masters: Dict[int, int]) -> Optional[Directory]:
    seen = procfs.pid_namespace(pid)
    for uid in uids:
        for folder in bases(os.environ, os.geteuid()):
            for filename in _listed(folder):
                name = parse(filename)
                if name and _is_of(name, uid, masters) and seen in (0, name.namespace):
                    with contextlib.suppress(OSError):
                        found = open_private(os.path.join(folder, filename), uid, read_only=True)
                        if found is not None:
                            return found
    return None


def _listed(folder: str) -> List[str]:
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir(folder) if name.startswith(PREFIX))
    return []


def _is_of(name: Name, uid: int, masters: Dict[int, int]) -> bool:
    # its workers may not see when a master of another user was started (hidepid)
    return (
        name.uid == uid
        and name.master_pid in masters
        and name.start in (0, masters[name.master_pid])
    )


def _process(pid: int) -> Optional[_Process]:
    fields = procfs.status(pid)
    if "Uid" not in fields:
        return None
    inner = fields.get("NSpid", str(pid)).split()
    return _Process(pid, int(fields["PPid"]), int(fields["Uid"].split()[1]), int(inner[-1]))
