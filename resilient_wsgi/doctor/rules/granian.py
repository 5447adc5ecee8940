"""Rules about granian: the command lines that start it."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional

from ..model import Evidence, Severity, at, rule
from ..read import runners
from ..read.command import Command
from ..read.runner import Runner
from ..subject import Subject
from .uwsgi_facts import mentions_library

RESPAWNS = ("workers-lifetime", "workers-max-rss")


class Instance(NamedTuple):
    """A command that starts granian, and what runs it."""

    command: Command
    runner: Runner

    def value(self, name: str) -> Optional[str]:
        """Return an option, of the command line or the environment, None without it."""
        given = self.command.value(f"--{name}")
        if given is not None:
            return given
        variable = f"GRANIAN_{name.replace('-', '_').upper()}"
        return {**self.runner.environment, **self.command.environment}.get(variable)

    def on(self, name: str) -> bool:
        """Return whether a switch is on."""
        if self.command.has(f"--no-{name}"):
            return False
        return self.command.has(f"--{name}") or (self.value(name) or "").lower() in {"1", "true"}


def instances(subject: Subject) -> Iterator[Instance]:
    """Yield each command that starts granian with a WSGI app."""
    for runner in runners.of(subject):
        for command in runner.commands:
            instance = Instance(command, runner)
            if command.program == "granian" and instance.value("interface") == "wsgi":
                yield instance


@rule(
    "R01",
    Severity.HINT,
    "granian has no limit for a request",
    why=(
        "granian has no timeout for requests: one that waits for an upstream that never answers "
        "keeps its thread until the worker ends."
    ),
    bad={
        "Procfile": "web: granian --interface wsgi --respawn-failed-workers "
        "--workers-kill-timeout 30 mysite.wsgi:application\n"
    },
    good={
        "Procfile": "web: granian --interface wsgi --respawn-failed-workers "
        "--workers-kill-timeout 30 mysite.wsgi:application\n",
        "wsgi.py": "import resilient_wsgi\n\nfrom mysite import app\n\n"
        "resilient_wsgi.install()\napplication = resilient_wsgi.wrap(app)\n",
    },
    fix="Wrap the app and set REQUEST.TIMEOUT: resilient_wsgi.wrap(application).",
    sources=("emmett-framework/granian#177",),
)
def no_request_limit(subject: Subject) -> Iterator[Evidence]:
    """Find granian where the sources do not mention the library."""
    for each in instances(subject):
        if not mentions_library(subject):
            yield at(each.command, "granian has no limit for a request")


@rule(
    "R02",
    Severity.WARNING,
    "respawn-failed-workers is off: a worker that crashes ends granian",
    why=(
        "Unless `--respawn-failed-workers` is set, granian stops as a whole when one of its "
        "workers ends unexpectedly: a crash in a C extension or the kernel's OOM killer is an "
        "outage."
    ),
    bad={
        "Procfile": "web: granian --interface wsgi --workers 4 --workers-kill-timeout 30 "
        "mysite.wsgi:application\n"
    },
    good={
        "Procfile": "web: granian --interface wsgi --workers 4 --workers-kill-timeout 30 "
        "--respawn-failed-workers mysite.wsgi:application\n"
    },
    fix="Add --respawn-failed-workers.",
    sources=("granian, README: Workers respawn", "granian 2.8, server/common.py"),
)
def no_respawn(subject: Subject) -> Iterator[Evidence]:
    """Find granian without the switch."""
    for each in instances(subject):
        if not each.on("respawn-failed-workers"):
            yield at(each.command, "respawn-failed-workers is off: a crashed worker ends granian")


@rule(
    "R03",
    Severity.WARNING,
    "workers-kill-timeout is off: a stop waits for ever",
    why=(
        "At a stop or a respawn granian waits for its workers. Without `--workers-kill-timeout` "
        "it has no limit for that: a request or a thread that hangs holds it up until SIGKILL "
        "comes from outside."
    ),
    bad={
        "Procfile": "web: granian --interface wsgi --respawn-failed-workers "
        "mysite.wsgi:application\n"
    },
    good={
        "Procfile": "web: granian --interface wsgi --respawn-failed-workers "
        "--workers-kill-timeout 30 mysite.wsgi:application\n"
    },
    fix="Add --workers-kill-timeout 30.",
    sources=("granian 2.8, server/common.py", "granian --help"),
)
def no_kill_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find granian without the option."""
    for each in instances(subject):
        if each.value("workers-kill-timeout") is None:
            yield at(
                each.command, "workers-kill-timeout is off: a worker that hangs holds up a stop"
            )


@rule(
    "R04",
    Severity.WARNING,
    "workers are replaced, and net.ipv4.tcp_migrate_req is 0: that drops connections",
    why=(
        "Each worker of granian has a listen queue of its own (SO_REUSEPORT). When one is "
        "replaced because of its lifetime or its memory, the kernel resets the connections that "
        "wait in its queue, unless `net.ipv4.tcp_migrate_req` (Linux 5.14) hands them to another."
    ),
    bad={
        "Procfile": "web: granian --interface wsgi --workers 4 --workers-lifetime 3600 "
        "--respawn-failed-workers --workers-kill-timeout 30 mysite.wsgi:application\n",
        "machine": "net.ipv4.tcp_migrate_req = 0",
    },
    good={
        "Procfile": "web: granian --interface wsgi --workers 4 --workers-lifetime 3600 "
        "--respawn-failed-workers --workers-kill-timeout 30 mysite.wsgi:application\n",
        "machine": "net.ipv4.tcp_migrate_req = 1",
    },
    fix="Set net.ipv4.tcp_migrate_req = 1 in the namespace that granian runs in.",
    sources=("granian, README", "Linux, Documentation/networking/ip-sysctl.rst"),
)
def respawns_drop(subject: Subject) -> Iterator[Evidence]:
    """Find options that replace workers where this namespace does not migrate connections."""
    migrates = subject.machine.number("net.ipv4.tcp_migrate_req")
    for each in instances(subject):
        for name in RESPAWNS:
            if migrates == 0 and each.value(name) is not None:
                yield at(
                    each.command,
                    f"{name} = {each.value(name)}, and net.ipv4.tcp_migrate_req in this namespace "
                    "= 0: each replaced worker drops what waits for it",
                )
