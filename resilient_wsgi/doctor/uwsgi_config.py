"""A configuration of uWSGI as uWSGI itself understands it, whichever format it was written in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional

from .model import Location
from .read import uwsgi_options
from .read.uwsgi_options import Known

if TYPE_CHECKING:
    from .read.command import Command

_FALSE = ("false", "off", "no")
_LEADING = re.compile(r"[ \t\n\v\f\r]*([+-]?\d+)")
_LOOPBACK = re.compile(r"127\.|localhost$|\[?::1\]?$")
_SOCKETS = {
    "socket": "uwsgi",
    "uwsgi-socket": "uwsgi",
    "suwsgi-socket": "uwsgi",
    "http-socket": "http",
    "http-socket-modifier": "http",
    "https-socket": "https",
    "fastcgi-socket": "fastcgi",
    "fastcgi-nph-socket": "fastcgi",
    "scgi-socket": "scgi",
    "scgi-nph-socket": "scgi",
    "raw-socket": "raw",
    "puwsgi-socket": "puwsgi",
}
_ROUTERS = {"http": "http", "https": "https", "http11-socket": "http"}


class Option(NamedTuple):
    """An option, in the order in which uWSGI applies them."""

    name: str  # as it was written
    value: str  # placeholders replaced where they are known
    location: Location
    raw: str  # the value as it was written
    section: str = "uwsgi"
    certain: bool = True  # False: it stands in an if-env, if-file, ... that may be true or not
    resolved: bool = True  # False: the value holds $(ENV), @(file) or %k, which are not known here

    endless: bool = False  # a placeholder in it leads to itself
    placeholder: bool = False  # made by set-placeholder: no option, whatever its name

    @property
    def known(self) -> Optional[Known]:
        """Return what uWSGI 2.0.31 knows of the option, None if it has no such option."""
        return uwsgi_options.shipped().get(self.name)

    @property
    def canonical(self) -> str:
        """Return the first of the names of the option: `processes` for `workers`."""
        return self.known.canonical if self.known else self.name

    @property
    def true(self) -> bool:
        """Return whether uWSGI takes the value for true: every text but false, off, no and 0."""
        return is_true(self.value)

    @property
    def number(self) -> Optional[int]:
        """Return the number that uWSGI makes of the value, None if the value is not known."""
        return leading_number(self.value) if self.resolved else None


class Socket(NamedTuple):
    """An address that the instance listens on."""

    protocol: str  # of what connects: uwsgi, http, https, fastcgi, scgi, raw, puwsgi
    address: str
    option: Option
    router: bool = False  # uWSGI's own HTTP router, a process of its own

    @property
    def location(self) -> Location:
        """Return where it is set."""
        return self.option.location

    @property
    def is_tcp(self) -> bool:
        """Return whether it is host:port."""
        return ":" in self.address and not self.address.startswith(("/", "@", "fd://", "="))

    @property
    def is_unix(self) -> bool:
        """Return whether it is a UNIX socket, by path or abstract."""
        return not self.is_tcp and not self.address.startswith(("=", "fd://"))

    @property
    def is_loopback(self) -> bool:
        """Return whether only this host can connect by TCP."""
        return self.is_tcp and bool(_LOOPBACK.match(self.address.rpartition(":")[0]))


class UwsgiConfig:
    """The options of one instance, with those of the files that it includes."""

    def __init__(self, location: Location, options: List[Option], *, complete: bool = True) -> None:
        self.location = location  # the section's first line; findings about what is missing go here
        self.options = options
        self._places: Dict[str, List[int]] = {}  # indexes of the options of each canonical name
        for index, option in enumerate(options):
            self._places.setdefault(option.canonical, []).append(index)
        self.complete = complete  # False: it includes what could not be read
        self._sockets: Optional[List[Socket]] = None
        self.loops: List[Option] = []  # includes of a file that is being read already
        self.command: Optional[Command] = None  # what starts it, if options of that are among these

    def __repr__(self) -> str:
        return f"<UwsgiConfig {self.location.file}: {len(self.options)} options>"

    def all(self, *names: str) -> List[Option]:
        """Return the options of these names or their aliases, in uWSGI's order."""
        canonical = {uwsgi_options.shipped().canonical(name) for name in names}
        places = sorted(index for name in canonical for index in self._places.get(name, ()))
        return [self.options[index] for index in places]

    def last(self, *names: str) -> Optional[Option]:
        """Return the last of these options: the one that counts, unless the option is a list."""
        found = self.all(*names)
        return found[-1] if found else None

    def has(self, *names: str) -> bool:
        """Return whether one of these options is there, be it in an `if-env`."""
        return bool(self.all(*names))

    def lacks(self, *names: str) -> bool:
        """Return whether it is certain that none of these options is there."""
        return self.complete and not self.has(*names)

    def on(self, name: str) -> bool:
        """Return whether a boolean option is certainly on."""
        option = self.last(name)
        return bool(option and option.certain and option.resolved and option.true)

    def off(self, name: str) -> bool:
        """Return whether a boolean option is certainly off: it is not there, or false."""
        option = self.last(name)
        if option is None:
            return self.complete
        return option.certain and option.resolved and not option.true

    def number(self, name: str, default: Optional[int] = None) -> Optional[int]:
        """Return the value of an option as uWSGI's atoi reads it, `default` if it is not there.

        None if it is not known: it stands in an `if-env`, is taken from the environment, or could
        be in a file that was not read.
        """
        option = self.last(name)
        if option is None:
            return default if self.complete else None
        return option.number if option.certain else None

    def turned_on_by(self, flag: str) -> List[Option]:
        """Return the options that turn on `master`, `log_master`, `threads`, `cheaper` or
        `lazy` by being there, whatever their value.
        """
        return [each for each in self.options if each.known and flag in each.known.flags]

    def runs_master(self) -> Optional[bool]:
        """Return whether there is a master process, None if that is not certain."""
        if self.on("master") or any(each.certain for each in self.turned_on_by("master")):
            return True
        return False if self.off("master") and not self.turned_on_by("master") else None

    def sockets(self) -> List[Socket]:
        """Return what the instance listens on, with its HTTP routers."""
        if self._sockets is None:
            self._sockets = self._all_sockets()
        return self._sockets

    def _all_sockets(self) -> List[Socket]:
        protocol = self.last("protocol")
        found = []
        for option in self.options:
            speaks = _SOCKETS.get(option.name) or _ROUTERS.get(option.name)
            if speaks is None and option.canonical in _SOCKETS:
                speaks = _SOCKETS[option.canonical]
            if speaks and option.value:
                if option.name == "socket" and protocol:
                    speaks = protocol.value
                address = option.value.partition(",")[0]
                found.append(Socket(speaks, address, option, option.name in _ROUTERS))
        return found


def is_true(value: str) -> bool:
    """Return what uWSGI's `uwsgi_opt_true` makes of a value; an empty one is true."""
    return value.lower() not in _FALSE and value != "0"


def leading_number(value: str) -> int:
    """Return what C's atoi makes of a value: the digits it starts with, 0 if there are none."""
    found = _LEADING.match(value)
    return int(found[1]) if found else 0
