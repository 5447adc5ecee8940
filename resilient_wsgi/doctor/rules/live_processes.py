"""What is wrong with the processes, sockets and files of an instance while it runs."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject
from .live_instance import HERE, running


@rule(
    "P07",
    Severity.WARNING,
    "a process has nearly all its descriptors open",
    why=(
        "At the limit accept, connect and open fail with `Too many open files`: requests are not "
        "taken, files and logs not opened. What grows without an end is a leak, of connections "
        "most often."
    ),
    bad={"live": "master = 70\nworker = 71 descriptors=900 most=1024\n"},
    good={"live": "master = 70\nworker = 71 descriptors=90 most=1024\n"},
    fix="See what is open (`ls -l /proc/PID/fd`), and raise LimitNOFILE if it is meant.",
    sources=("emmett-framework/granian#383",),
)
def few_descriptors_left(subject: Subject) -> Iterator[Evidence]:
    """Compare the open descriptors of each process with its limit."""
    for live in running(subject):
        for each in live.processes:
            if each.most_descriptors and each.descriptors > 0.8 * each.most_descriptors:
                yield at(
                    HERE,
                    f"process {each.pid} of {live.name}: {each.descriptors} of "
                    f"{each.most_descriptors} descriptors are open",
                )


@rule(
    "P09",
    Severity.ERROR,
    "the master is stopped",
    why=(
        "The master starts workers, ends those that hang, reloads and stops. While it is stopped "
        "(SIGSTOP, a debugger) or sleeps where no signal reaches it (a dead disk or NFS), nothing "
        "of that happens, and harakiri does not either."
    ),
    bad={"live": "master = 70 state=T\n"},
    good={"live": "master = 70 state=S\n"},
    fix="Let it go on: kill -CONT PID; in state D look at the file system it waits for.",
    sources=("proc(5): state", "uWSGI 2.0.31, core/master.c: the master's loop"),
)
def master_is_stopped(subject: Subject) -> Iterator[Evidence]:
    """Find a master in state T or D, both times that it was looked at."""
    for live in running(subject):
        if live.master.state in ("T", "t", "D"):
            # a slow disk, twice within 0.2 s, is no dead one
            severity = Severity.WARNING if live.master.state == "D" else None
            yield at(HERE, f"{live.name} is in state {live.master.state}", severity=severity)


@rule(
    "P10",
    Severity.HINT,
    "the configuration was changed since the start",
    why=(
        "What runs is not what the file says: findings about the file may not hold for the "
        "instance, and the next restart brings the change, at a time that nobody chose."
    ),
    bad={"live": "master = 70\nchanged = /etc/uwsgi.ini\n"},
    good={"live": "master = 70\n"},
    fix="Reload or restart the instance when it suits you.",
    sources=("mtime of the file, start of the oldest worker",),
)
def changed_since_start(subject: Subject) -> Iterator[Evidence]:
    """Find configuration files that are newer than the oldest worker."""
    for live in running(subject):
        for each in live.changed:
            yield at(HERE, f"{live.name} was started before {each} was last changed")


@rule(
    "P11",
    Severity.ERROR,
    "nobody can reach the socket any more",
    why=(
        "A UNIX socket is found by its path. If the file is gone, or another instance has bound "
        "the same path since, connections no longer come to this one: it runs and is idle. "
        "`vacuum` of an instance that ends removes the file of the one that has just started."
    ),
    bad={"live": "master = 70\nqueue = /run/app/uwsgi.sock depth=0/1024 holders=0\n"},
    good={"live": "master = 70\nqueue = /run/app/uwsgi.sock depth=0/1024\n"},
    fix="Restart the instance that should have it; stop the other one.",
    sources=("unix(7)",),
)
def unreachable_socket(subject: Subject) -> Iterator[Evidence]:
    """Find UNIX sockets whose path is gone, or has several listeners."""
    for live in running(subject):
        for queue in live.queues:
            if queue.holders == 0:
                yield at(HERE, f"{live.name} listens on {queue.name}, which is not there any more")
            elif queue.holders > 1:
                message = f"{live.name}: {queue.holders} sockets listen on {queue.name}"
                yield at(HERE, f"{message}; clients reach the last one only")


@rule(
    "P12",
    Severity.WARNING,
    "the program was replaced since the start",
    why=(
        "The file that this process executes was removed or replaced, by an upgrade most often. "
        "What is imported from now on is of the new version, what is loaded is of the old one; a "
        "reload executes the new program, or fails if it is gone."
    ),
    bad={"live": "master = 70\nprogram = /usr/bin/uwsgi (deleted)\n"},
    good={"live": "master = 70\nprogram = /usr/bin/uwsgi\n"},
    fix="Restart the instance.",
    sources=("proc(5): /proc/PID/exe",),
)
def replaced_program(subject: Subject) -> Iterator[Evidence]:
    """Find a master whose program is deleted."""
    for live in running(subject):
        if live.program.endswith(" (deleted)"):
            yield at(HERE, f"{live.name} executes {live.program}")


@rule(
    "P13",
    Severity.WARNING,
    "children that nobody waits for, or that no signal reaches",
    why=(
        "A zombie is a child that has ended and that its parent has not taken note of: one for a "
        "moment is normal, some that stay say that the parent is stuck. A child in state D sleeps "
        "in the kernel, on a disk or NFS that does not answer, and cannot be killed."
    ),
    bad={"live": "master = 70\nchildren = Z number=3\n"},
    good={"live": "master = 70\n"},
    fix="See what the master does (zombies), or what file system the child waits for (D).",
    sources=("proc(5): state",),
)
def lost_children(subject: Subject) -> Iterator[Evidence]:
    """Count children in state Z or D, both times that they were looked at."""
    for live in running(subject):
        for state, count in live.children.items():
            if count > (1 if state == "Z" else 0):
                yield at(HERE, f"{live.name} has {count} children in state {state}")


@rule(
    "P15",
    Severity.WARNING,
    "somaxconn was lowered since the start",
    why=(
        "The queue has the length that was allowed when it was made. At the next start uWSGI "
        "compares `listen` with net.core.somaxconn again, and exits: incident 4."
    ),
    bad={
        "live": "master = 70\nqueue = 127.0.0.1:3031 depth=0/1024\n",
        "machine": "net.core.somaxconn = 128\n",
    },
    good={
        "live": "master = 70\nqueue = 127.0.0.1:3031 depth=0/1024\n",
        "machine": "net.core.somaxconn = 4096\n",
    },
    fix="Raise net.core.somaxconn again, before the next restart.",
    sources=("incident 4 (small backlog)", "uWSGI 2.0.31, core/socket.c"),
)
def lowered_somaxconn(subject: Subject) -> Iterator[Evidence]:
    """Compare the queues that were made with what is allowed now."""
    for live in running(subject):
        allowed = subject.machine.number("net.core.somaxconn")
        for queue in live.queues:
            if allowed is not None and queue.limit > allowed:
                yield at(
                    HERE,
                    f"{live.name}: {queue.name} has room for {queue.limit}, net.core.somaxconn is "
                    f"{allowed} now",
                )
