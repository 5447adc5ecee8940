"""Which configuration belongs to which runner, and to which location of nginx.

What is not certain is no pair: a rule that compares two files says nothing then.
"""

from __future__ import annotations

import posixpath
import re
from typing import Iterator, List, Optional, Set, Tuple

from .read import runners
from .read.kubernetes import Container
from .read.nginx import Pass
from .read.runner import Runner
from .subject import Subject
from .uwsgi_config import Socket, UwsgiConfig

SERVERS = ("uwsgi", "gunicorn", "granian")
_HERE = ("", "*", "0.0.0.0", "[::]", "localhost", "127.0.0.1", "[::1]")  # noqa: S104 - compared
_ALL = ("", "*", "0.0.0.0", "[::]")  # noqa: S104 - compared


def runners_of(subject: Subject, config: UwsgiConfig) -> List[Runner]:
    """Return what starts the instance of a configuration: its command names the file, or holds the
    options.
    """
    return [each for each in runners.of(subject) if config_of(subject, each) is config]


def config_of(subject: Subject, runner: Runner) -> Optional[UwsgiConfig]:
    """Return the configuration that a runner starts uWSGI with, None if that is not certain."""
    command = runner.running("uwsgi")
    if command is None:
        return None
    merged = [each for each in subject.uwsgi if each.command == command]
    if merged:
        return merged[0]
    named = {posixpath.basename(each) for each in command.files()}
    found = [
        each
        for each in subject.uwsgi
        if each.location == command.location
        or posixpath.basename(each.location.file).rpartition("#")[2] in named
    ]
    return found[0] if len(found) == 1 else None


def pairs(subject: Subject) -> Iterator[Tuple[Runner, UwsgiConfig]]:
    """Yield what starts uWSGI, each with the configuration that it starts it with."""
    for runner in runners.of(subject):
        config = config_of(subject, runner)
        if config is not None:
            yield runner, config


def served(subject: Subject, *servers: str) -> Iterator[Container]:
    """Yield the containers of pods whose command starts a server."""
    for manifest in subject.manifests:
        for container in manifest.containers():
            if any(container.runner().running(each) for each in servers or SERVERS):
                yield container


def configs_behind(subject: Subject, passed: Pass) -> List[UwsgiConfig]:
    """Return the configurations that listen where a location of nginx passes requests to.

    If there is one configuration and nginx passes to one place only, that is it, however the
    addresses are written: those of a container are not those of its host.
    """
    addresses = passed.servers()
    found = [each for each in subject.uwsgi if _listens(each, addresses)]
    if not found and len(subject.uwsgi) == 1 and len(targets(subject)) == 1:
        return list(subject.uwsgi)
    return found


def targets(subject: Subject) -> Set[str]:
    """Return all places that nginx passes requests to."""
    if "targets" not in subject.derived:
        subject.derived["targets"] = {
            passed.target for nginx in subject.nginx for passed in nginx.passes()
        }
    found: Set[str] = subject.derived["targets"]
    return found


def same_address(asked: str, socket: Socket) -> bool:
    """Return whether an address in nginx is that of a socket of uWSGI, seen from the same host."""
    if socket.is_unix:
        return asked.startswith("unix:") and _path(asked[5:]) == _path(socket.address)
    if not socket.is_tcp or asked.startswith("unix:"):
        return False
    host, _, port = asked.rpartition(":")
    own, _, own_port = socket.address.rpartition(":")
    if not host and not port.isdigit():
        return False
    return port == own_port and (host == own or (host in _HERE and own in _HERE))


def same_port(asked: str, socket: Socket) -> bool:
    """Return whether a host name in nginx may be that of a container in which uWSGI listens on all
    addresses, on the same port.
    """
    host, _, port = asked.rpartition(":")
    own, _, own_port = socket.address.rpartition(":")
    names = re.fullmatch(r"[A-Za-z][\w.-]*", host) is not None and host not in _HERE
    return socket.is_tcp and names and own in _ALL and port == own_port


def _listens(config: UwsgiConfig, addresses: List[str]) -> bool:
    return any(
        same_address(address, socket) or same_port(address, socket)
        for socket in config.sockets()
        for address in addresses
    )


def _path(path: str) -> str:
    normal = posixpath.normpath("/" + path.lstrip("/"))
    return normal[4:] if normal.startswith("/var/run/") else normal
