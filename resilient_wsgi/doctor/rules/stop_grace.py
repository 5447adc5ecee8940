"""How long a service may take to stop, and who ends it then."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from .. import pairing
from ..model import Evidence, Severity, at, rule
from ..read import runners, systemd
from ..read.kubernetes import Container
from ..stopping import mercy_seconds
from ..subject import Subject
from .stop_signals import unit

_INI = "[uwsgi]\nmaster = true\ndie-on-term = true\n"


def deployment(container: str = "", pod: str = "", kind: str = "Deployment") -> str:
    """Return a manifest whose container and pod have these lines."""
    lines = [
        "apiVersion: apps/v1", f"kind: {kind}", "metadata: {name: web}", "spec:", "  template:",
        "    spec:", *(f"      {each}" for each in pod.splitlines()), "      containers:",
        "        - name: app", "          command: [uwsgi, --ini, /app/uwsgi.ini]",
        *(f"          {each}" for each in container.splitlines()), "",
    ]  # fmt: skip
    return "\n".join(lines)


PRE_STOP = "lifecycle:\n  preStop:\n    exec: {command: [sleep, '10']}"


@rule(
    "U40",
    Severity.WARNING,
    "uWSGI waits longer for its workers than it may",
    why=(
        "A worker that does not end on a stop or reload is killed after `worker-reload-mercy`, 60 "
        "s by default. If systemd, Docker or Kubernetes loses patience first, it kills the master "
        "and all workers with SIGKILL: no cleanup runs, and the log does not say which worker "
        "hung."
    ),
    bad={
        "uwsgi.ini": _INI + "worker-reload-mercy = 60\n",
        "app.service": unit("TimeoutStopSec=30"),
    },
    good={
        "uwsgi.ini": _INI + "worker-reload-mercy = 40\n",
        "app.service": unit("TimeoutStopSec=60"),
    },
    fix="Set worker-reload-mercy well below the grace period, or raise that.",
    sources=("uWSGI 2.0.31, core/init.c: 60 s", "incident 3 (reload with threads)"),
)
def mercy_beyond_grace(subject: Subject) -> Iterator[Evidence]:
    """Compare worker-reload-mercy with the grace period of what stops the instance."""
    for runner in runners.of(subject):
        config, grace = pairing.config_of(subject, runner), runner.stop_grace
        mercy = mercy_seconds(config) if config else None
        if config is None or grace is None or mercy is None or mercy < grace.value:
            continue
        option = config.last("worker-reload-mercy")
        given, kept = "" if option else " (default)", "" if grace.given else " (default)"
        yield at(
            option or config,
            f"worker-reload-mercy = {mercy} s{given}, {runner} is killed after {grace.value:g} s"
            f"{kept}",
            severity=None if option else Severity.HINT,
        )


@rule(
    "S05",
    Severity.WARNING,
    "the grace period is over before the server is told to stop",
    why=(
        "The preStop hook is part of terminationGracePeriodSeconds. What it takes is missing "
        "afterwards: when the hook lasts as long as the period, Kubernetes sends SIGTERM and two "
        "seconds later SIGKILL."
    ),
    bad={
        "web.yaml": deployment(
            "lifecycle:\n  preStop:\n    exec: {command: [sleep, '30']}",
            "terminationGracePeriodSeconds: 30",
        )
    },
    good={"web.yaml": deployment(PRE_STOP, "terminationGracePeriodSeconds: 60")},
    fix="Set terminationGracePeriodSeconds to more than the hook and worker-reload-mercy together.",
    sources=("Kubernetes, Pod lifecycle: termination", "docs/start/container.md"),
)
def grace_of_a_pod(subject: Subject) -> Iterator[Evidence]:
    """Compare what preStop takes with the grace period."""
    for container in pairing.served(subject):
        runner, hook = container.runner(), container.node.get("lifecycle", "preStop")
        takes, grace = _hook_seconds(container), runner.stop_grace
        config = pairing.config_of(subject, runner)
        option = config.last("worker-reload-mercy") if config else None
        mercy = (option.number or 0) if option and option.certain else 0
        if takes is None or grace is None or takes + mercy < grace.value:
            continue
        more = f" and worker-reload-mercy {mercy} s" if mercy else ""
        yield at(
            hook.location,
            f"preStop takes {takes:g} s{more}, terminationGracePeriodSeconds is {grace.value:g}",
        )


def _hook_seconds(container: Container) -> Optional[float]:
    """Return how long a preStop hook takes, None if that is not certain."""
    hook = container.node.get("lifecycle", "preStop")
    seconds = hook.get("sleep", "seconds")
    if seconds:
        return seconds.number()
    line = " ".join(hook.get("exec", "command").words())
    slept = re.findall(r"\bsleep (\d+)", line)
    if slept:
        return float(sum(map(int, slept)))
    drained = re.search(r"\bresilient-wsgi drain\b.*--timeout[ =](\d+)", line)
    return float(drained[1]) if drained else None


@rule(
    "S06",
    Severity.WARNING,
    "a pod stops while requests still come",
    why=(
        "Kubernetes removes a pod from the endpoints and sends SIGTERM at the same time, and "
        "proxies learn of the removal later. uWSGI and gunicorn close their sockets at once: on "
        "each rollout some requests are refused or cut off."
    ),
    bad={"web.yaml": deployment()},
    good={"web.yaml": deployment(PRE_STOP)},
    fix=(
        "Add a preStop hook that waits until no more requests come: `resilient-wsgi drain "
        "--pidfile F`, or at least `sleep 10`."
    ),
    sources=(
        "Kubernetes, Pod lifecycle: termination",
        "unbit/uwsgi#1974",
        "docs/start/container.md",
    ),
)
def no_pre_stop(subject: Subject) -> Iterator[Evidence]:
    """Find deployments of a server without a preStop hook."""
    for container in pairing.served(subject):
        if container.kind == "Deployment" and not container.node.get("lifecycle", "preStop"):
            yield at(container.node.location, f"container {container.name} has no preStop hook")


@rule(
    "S23",
    Severity.WARNING,
    "the unit is not started again when it ends",
    why=(
        "systemd leaves a service that has ended as it is, unless `Restart=` says otherwise. An "
        "instance that runs out of memory, or whose app cannot be loaded (exit code 22), then "
        "stays down until somebody starts it."
    ),
    bad={"app.service": "[Service]\nExecStart=/srv/venv/bin/uwsgi --ini /srv/uwsgi.ini\n"},
    good={
        "app.service": (
            "[Service]\nExecStart=/srv/venv/bin/uwsgi --ini /srv/uwsgi.ini\nRestart=on-failure\n"
            "RestartSec=2\n"
        )
    },
    fix="Set Restart=on-failure (or always) and RestartSec=2.",
    sources=("systemd.service(5): Restart=, default no",),
)
def not_restarted(subject: Subject) -> Iterator[Evidence]:
    """Find units of a server without Restart=."""
    for each in systemd.services(subject.units):
        runner = each.runner()
        if runner is None or not any(runner.running(server) for server in pairing.SERVERS):
            continue
        restart = each.last("Restart")
        if restart is None or restart.value == "no":
            yield at((restart or runner).location, "Restart= is no" if restart else "no Restart=")


@rule(
    "S24",
    Severity.WARNING,
    "the unit waits for another kind of start than uWSGI's",
    why=(
        "With `Type=forking` systemd waits until the process that it started ends and leaves a "
        "daemon behind. uWSGI without `daemonize` stays in the foreground: systemd takes the start "
        "for failed after 90 s and kills it. With `daemonize` and any other type it is the other "
        "way round: the process ends, and systemd kills what is left of the service."
    ),
    bad={
        "uwsgi.ini": _INI,
        "app.service": unit("Type=forking"),
    },
    good={
        "uwsgi.ini": _INI,
        "app.service": unit("Type=notify"),
    },
    fix="Set Type=notify, and remove daemonize.",
    sources=("systemd.service(5): Type=", "uWSGI docs, Systemd"),
)
def other_start(subject: Subject) -> Iterator[Evidence]:
    """Compare the unit's Type with daemonize."""
    for each in systemd.services(subject.units):
        runner = each.runner()
        config = pairing.config_of(subject, runner) if runner else None
        if config is None:
            continue
        kind, option = each.last("Type"), config.last("daemonize", "daemonize2")
        said = kind.value if kind else "simple"
        if kind and said == "forking" and config.lacks("daemonize", "daemonize2"):
            yield at(kind.location, "Type=forking, and uWSGI has no daemonize")
        elif option is not None and option.certain and said in ("simple", "exec", "notify"):
            yield at(option, f"{option.name}, and Type={said} in {each.name}")
