"""What the rules ask of a uWSGI configuration besides its options: is it whole, what does it
serve, who can connect, is the library in it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Iterator, List, Optional, Tuple

from ..subject import Subject
from ..uwsgi_config import Option, Socket, UwsgiConfig

APPS = ("module", "wsgi-file", "file", "mount", "eval", "paste", "ini-paste", "ini-paste-logged")
OTHER_LANGUAGES = ("psgi", "rack", "php-app", "php-docroot", "lua", "jvm-main-class", "mono-app")
LOADER = "resilient_wsgi.uwsgi"
READY = "resilient_wsgi_ready"
LONGEST_VALUE = 60
_COMMENT = re.compile(r"\s[;#]")


def serves_python(config: UwsgiConfig) -> bool:
    """Return whether there is a Python app in it."""
    return config.has(*APPS) and not config.has(*OTHER_LANGUAGES)


def whole(subject: Subject) -> Iterator[UwsgiConfig]:
    """Yield the configurations of which it can be said that something is missing: those that hold
    both a Python app and a socket.

    Many images ship one half of a configuration and expect the other half from elsewhere (`module`
    alone, or all but `module`). What is missing from one half may stand in the other.
    """
    for config in subject.uwsgi:
        if config.complete and config.sockets() and serves_python(config):
            yield config


def many(config: UwsgiConfig, name: str) -> int:
    """Return how many `processes` or `threads` there are; 1 if the number is not known."""
    return max(1, config.number(name, 1) or 1)


def accepting(config: UwsgiConfig) -> List[Socket]:
    """Return the sockets on which the workers themselves accept."""
    return [socket for socket in config.sockets() if not socket.router]


def is_known(socket: Socket) -> bool:
    """Return whether the address is written out, and no inherited or shared socket."""
    return socket.option.resolved and not socket.address.startswith(("fd://", "="))


def only_unix(config: UwsgiConfig) -> bool:
    """Return whether it is certain that the workers accept on UNIX sockets alone."""
    sockets = accepting(config)
    return (
        config.complete
        and bool(sockets)
        and all(is_known(socket) and socket.is_unix for socket in sockets)
    )


def is_public(address: str) -> bool:
    """Return whether other hosts may connect to this TCP address; a name is not looked up."""
    host, colon, _ = address.rpartition(":")
    if not colon or address.startswith(("/", "@", "fd://", "=")):
        return False
    host = host.strip("[]")
    if host in {"", "*"}:
        return True
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def first(config: UwsgiConfig, *names: str) -> Optional[Option]:
    """Return the first of these options that is certain, in uWSGI's order."""
    return next((option for option in config.all(*names) if option.certain), None)


def hooks_accepting(config: UwsgiConfig) -> List[Option]:
    """Return the hooks that run when a worker begins to accept."""
    return [option for option in config.options if option.name.startswith("hook-accepting")]


def is_ready_hook(option: Option) -> bool:
    """Return whether a hook is the library's."""
    return option.value.replace(" ", "").startswith(f"rpc:{READY}")


def imports_library(config: UwsgiConfig) -> List[Option]:
    """Return the options by which the library is imported in the master, or loads the app."""
    return [
        option
        for option in config.all("shared-import", "module")
        if option.value.partition(":")[0].strip() == LOADER
    ]


def loads_with_library(config: UwsgiConfig) -> bool:
    """Return whether workers that failed to load the app exit and are started again, because the
    library is asked about each of them.
    """
    return bool(imports_library(config)) and any(map(is_ready_hook, hooks_accepting(config)))


def is_wrapped(subject: Subject, config: UwsgiConfig) -> bool:
    """Return whether the library is seen to be around the app: it loads it, or the sources that
    were found mention it.
    """
    loads = any(option.canonical == "module" for option in imports_library(config))
    return loads or mentions_library(subject)


def mentions_library(subject: Subject) -> bool:
    """Return whether the app's sources mention the library."""
    return any("resilient_wsgi" in source.text for source in subject.python)


def in_container(subject: Subject, config: UwsgiConfig) -> bool:
    """Return whether a container was found whose command starts this configuration."""
    from ..pairing import runners_of  # which knows all formats, and is seldom needed

    return any(each.in_container for each in runners_of(subject, config))


def is_containerised(subject: Subject) -> bool:
    """Return whether something was found that runs the project in a container."""
    from ..read import runners

    return any(each.in_container for each in runners.of(subject))


def is_before(version: Optional[Tuple[int, ...]], limit: Tuple[int, ...]) -> bool:
    """Return whether a version is known, and older than `limit`."""
    return version is not None and version < limit


def is_since(version: Optional[Tuple[int, ...]], limit: Tuple[int, ...]) -> bool:
    """Return whether a version is known, and `limit` or newer."""
    return version is not None and version >= limit


def brief(option: Option) -> str:
    """Return a value for a message: without a comment that has become part of it, and short."""
    value = _COMMENT.split(option.value, maxsplit=1)[0].rstrip()
    return value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
