"""The signal that stops a service, and whether it reaches uWSGI and stops it."""

from __future__ import annotations

from typing import Dict, Iterator

from .. import pairing
from ..model import Evidence, Location, Severity, at, rule
from ..read import runners
from ..read.runner import UNIT, Runner
from ..stopping import RELOADS, effect
from ..subject import Subject
from ..uwsgi_config import UwsgiConfig

_INI = "[uwsgi]\nmaster = true\n"
_DEBIAN = ("python:", "debian", "ubuntu", "buildpack-deps")


def unit(*lines: str) -> str:
    """Return a unit of uWSGI with these lines."""
    start = "ExecStart=/srv/venv/bin/uwsgi --ini /srv/uwsgi.ini"
    return "\n".join(["[Service]", start, "Restart=always", *lines, ""])


def _given_signal_reloads(runner: Runner, config: UwsgiConfig) -> Iterator[Evidence]:
    signal = runner.stop_signal
    if signal is not None and effect(config, signal.value) == RELOADS:
        with_it = "die-on-term = true" if config.on("die-on-term") else "no die-on-term"
        yield at(
            signal.location,
            f"{signal.value} to stop, {with_it} in {config.location.file}: uWSGI reloads",
        )


@rule(
    "S04",
    Severity.ERROR,
    "the unit stops uWSGI with a signal that reloads it",
    why=(
        "By default SIGTERM reloads uWSGI and SIGQUIT stops it; with `die-on-term` it is the other "
        "way round, and uWSGI's own documentation recommends `KillSignal=SIGQUIT` for units. With "
        "the wrong one the instance starts again on each stop, takes requests, and is killed with "
        "SIGKILL when TimeoutStopSec is over: requests are cut off, and each restart takes 90 s."
    ),
    bad={
        "uwsgi.ini": _INI + "die-on-term = true\n",
        "app.service": unit("KillSignal=SIGQUIT"),
    },
    good={
        "uwsgi.ini": _INI + "die-on-term = true\n",
        "app.service": unit("KillSignal=SIGTERM"),
    },
    fix="With die-on-term set KillSignal=SIGTERM, or leave it out; without it, SIGQUIT.",
    sources=("uWSGI 2.0.31, core/master.c: uwsgi_unix_signal", "uWSGI docs, Systemd"),
)
def unit_reloads(subject: Subject) -> Iterator[Evidence]:
    """Find units whose KillSignal reloads their uWSGI."""
    for runner, config in pairing.pairs(subject):
        if runner.kind == UNIT:
            yield from _given_signal_reloads(runner, config)


@rule(
    "S20",
    Severity.ERROR,
    "the container is stopped with a signal that reloads uWSGI",
    why=(
        "Docker and Kubernetes stop a container with the STOPSIGNAL of its image, SIGTERM by "
        "default. With `die-on-term` SIGQUIT reloads uWSGI: the instance starts again and is "
        "killed when the grace period is over, with the requests that it has taken meanwhile."
    ),
    bad={
        "uwsgi.ini": _INI + "die-on-term = true\n",
        "Dockerfile": 'FROM python:3.12\nSTOPSIGNAL SIGQUIT\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    good={
        "uwsgi.ini": _INI + "die-on-term = true\n",
        "Dockerfile": 'FROM python:3.12\nSTOPSIGNAL SIGTERM\nCMD ["uwsgi", "--ini", "uwsgi.ini"]\n',
    },
    fix="With die-on-term use SIGTERM, without it SIGINT.",
    sources=("uWSGI 2.0.31, core/master.c: uwsgi_unix_signal",),
)
def container_reloads(subject: Subject) -> Iterator[Evidence]:
    """Find images and services whose stop signal reloads their uWSGI."""
    for runner, config in pairing.pairs(subject):
        if runner.in_container:
            yield from _given_signal_reloads(runner, config)


@rule(
    "S22",
    Severity.WARNING,
    "a shell is process 1, and the server does not get the signal",
    why=(
        "In the shell form the container's process 1 is `sh`, and the stop signal goes to that. "
        "Debian's sh (dash) neither passes it on nor ends: the server knows nothing of the stop, "
        "goes on for the whole grace period, and is killed in the middle of its requests. "
        "bash, and the sh of Alpine, replace themselves by the last command. An init such as tini "
        "does not help: the shell dies of the signal, and the rest is killed with it."
    ),
    bad={"Dockerfile": "FROM python:3.12\nCMD python manage.py migrate && uwsgi --ini uwsgi.ini\n"},
    good={"Dockerfile": "FROM python:3.12\nCMD python manage.py migrate && exec uwsgi uwsgi.ini\n"},
    fix="Write `exec` before the server, or use the list form.",
    sources=("measured: dash 0.5.12, bash 5.2, busybox 1.35", "critiquebrainz#503"),
)
def shell_is_process_1(subject: Subject) -> Iterator[Evidence]:
    """Find containers whose server runs below a shell; a service and its image once."""
    found: Dict[Location, Evidence] = {}
    for runner in runners.of(subject):
        for command in runner.commands:
            debian = runner.image.rpartition("/")[2].startswith(_DEBIAN)
            if command.program == "nginx" or command.replaces:
                continue
            if runner.in_container and "alpine" not in runner.image:
                evidence = at(
                    command.location,
                    f"{command.shell} runs {command.program} without exec",
                    severity=None if debian else Severity.HINT,
                )
                found[command.location] = evidence
    yield from found.values()
