"""What the instance listens on."""

from __future__ import annotations

from typing import Iterator

from ..model import Evidence, Severity, at, rule
from ..subject import Subject

SOMAXCONN = "net.core.somaxconn"


@rule(
    "U45",
    Severity.ERROR,
    "listen is above net.core.somaxconn",
    why=(
        "uWSGI compares `listen` with the sysctl `net.core.somaxconn` of its network namespace, "
        "and exits if it is larger. A container has a namespace of its own, where the limit may "
        "be another than on its host."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nlisten = 4096\n",
        "machine": "net.core.somaxconn = 128\n",
    },
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\nlisten = 1024\n",
        "machine": "net.core.somaxconn = 4096\n",
    },
    fix="Raise net.core.somaxconn in the namespace that uWSGI runs in, or lower listen to it.",
    sources=("uWSGI 2.0.31, core/socket.c: uwsgi_bind_sockets, uWSGI exits", "unbit/uwsgi#2444"),
)
def listen_above_somaxconn(subject: Subject) -> Iterator[Evidence]:
    """Compare listen with the limit of this namespace."""
    limit = subject.machine.number(SOMAXCONN)
    for config in subject.uwsgi:
        asked, option = config.number("listen"), config.last("listen")
        if option and asked is not None and limit is not None and asked > limit:
            yield at(option, f"listen = {asked}, {SOMAXCONN} in this namespace = {limit}")
