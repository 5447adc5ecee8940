"""The kinds of values that settings have: what each accepts, and how a value given in any of the
sources is read.

A string is always accepted where it can be read, because the environment has nothing else.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple, Union


class Kind:
    """Base: `accepts` is the form in words, `read` returns the value or raises `ValueError` with
    what is wrong.
    """

    @property
    def accepts(self) -> str:
        """Return what is accepted, in words that complete "it takes"."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """Return the value in its proper type."""
        raise NotImplementedError


@dataclass(frozen=True)
class Seconds(Kind):
    """A time in seconds: an int or a float, finite; None where `none` says what that means."""

    above: Optional[float] = None
    none: str = ""

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        bound = "above 0" if self.above == 0 else "0 or more"
        return f"a number of seconds, {bound}" + (f", or None ({self.none})" if self.none else "")

    def read(self, value: Any) -> Optional[float]:
        """Return seconds as a float, or None."""
        if self.none and (value is None or str(value).lower() in ("none", "")):
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(type(value).__name__)
        number = float(value)
        if (
            not math.isfinite(number)
            or number < 0
            or (self.above is not None and number <= self.above)
        ):
            raise ValueError(number)
        return number


@dataclass(frozen=True)
class SecondsByScope(Kind):
    """A time in seconds above 0, None for no limit, or `auto`: what `auto` says, in a request and
    elsewhere.
    """

    auto: str

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        return f"auto ({self.auto}), {Seconds(above=0, none='no limit').accepts}"

    def read(self, value: Any) -> Union[float, str, None]:
        """Return seconds as a float, None for no limit, or "auto"."""
        if str(value).strip().lower() == "auto":
            return "auto"
        return Seconds(above=0, none="no limit").read(value)


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number; None where `none` says what that means."""

    at_least: int = 0
    none: str = ""

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        return f"a whole number, {self.at_least} or more" + (
            f", or None ({self.none})" if self.none else ""
        )

    def read(self, value: Any) -> Optional[int]:
        """Return the number, or None."""
        if self.none and (value is None or str(value).lower() in ("none", "")):
            return None
        if isinstance(value, (bool, float)) or not isinstance(value, (int, str)):
            raise ValueError(type(value).__name__)
        number = int(value)
        if number < self.at_least:
            raise ValueError(number)
        return number


class Share(Kind):
    """A part of a whole."""

    accepts = "a number from 0 to 1"

    def read(self, value: Any) -> float:
        """Return the number."""
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(type(value).__name__)
        number = float(value)
        if not 0 <= number <= 1:
            raise ValueError(number)
        return number


class Names(Kind):
    """Several words: a sequence of strings, or one string with commas between them."""

    accepts = "a list of names, or names with commas between them"

    def read(self, value: Any) -> Tuple[str, ...]:
        """Return the words, without blanks around them."""
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, (list, tuple, set, frozenset)) or not all(
            isinstance(word, str) for word in words
        ):
            raise ValueError(type(value).__name__)
        return tuple(word.strip() for word in words if word.strip())


class Paths(Names):
    """Patterns of paths."""

    accepts = "a list of path patterns (`/api/*`; `*` also matches `/`), or one string with commas"

    def read(self, value: Any) -> Tuple[str, ...]:
        """Return the patterns."""
        patterns = super().read(value)
        for pattern in patterns:
            if not pattern.startswith(("/", "*")):
                msg = f"{pattern!r} matches no path: it begins with neither / nor *"
                raise Wrong(msg)
        return patterns


class PathLimits(Kind):
    """Seconds by pattern of path; JSON in the environment."""

    accepts = '{"/path/pattern*": seconds or None (no other limit than harakiri)}'

    def read(self, value: Any) -> Dict[str, Optional[float]]:
        """Return the table."""
        table = json.loads(value) if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            raise ValueError(type(value).__name__)
        seconds = Seconds(above=0, none="no limit")
        patterns = Paths().read(list(table))
        return {pattern: seconds.read(limit) for pattern, limit in zip(patterns, table.values())}


class Signal(Kind):
    """The name of a real-time signal, counted from SIGRTMIN because its number differs between C
    libraries.

    All others are refused by name: the server uses them, or the interpreter does.
    """

    accepts = "SIGRTMIN+N with N from 0 to 30, or None (not used)"

    def read(self, value: Any) -> Optional[str]:
        """Return the name in upper case, None for none."""
        name = str(value).strip().upper().replace(" ", "")
        if name in ("NONE", "OFF", ""):
            return None
        if re.fullmatch(r"SIGRTMIN(\+([12]?\d|30))?", name):
            return name
        if name.startswith("SIG") or name.lstrip("-").isdigit():
            raise Wrong(_refused(name))
        raise ValueError(value)


def _refused(name: str) -> str:
    if not name.startswith("SIG"):
        return f"{name} is a number: signals are named here, because numbers differ between systems"
    use = SERVER_SIGNALS.get(name, "the interpreter, the C library or an app may use it")
    return f"{name} is not free: {use}"


SERVER_SIGNALS = {
    "SIGHUP": "uWSGI and gunicorn reload by it",
    "SIGINT": "uWSGI and gunicorn stop by it",
    "SIGTERM": "uWSGI reloads or stops by it, gunicorn stops",
    "SIGQUIT": "uWSGI stops or reloads by it, gunicorn stops",
    "SIGUSR1": "uWSGI prints its statistics at it, gunicorn opens its logs anew",
    "SIGUSR2": "uWSGI prints a worker's state at it, gunicorn upgrades itself",
    "SIGWINCH": "uWSGI wakes idle workers by it, gunicorn stops its workers",
    "SIGTSTP": "uWSGI pauses by it",
    "SIGURG": "uWSGI's Emperor uses it",
    "SIGTTIN": "gunicorn starts a worker at it",
    "SIGTTOU": "gunicorn stops a worker at it",
    "SIGABRT": "gunicorn ends a worker that is late by it",
    "SIGALRM": "uWSGI without a master has its harakiri by it",
    "SIGCHLD": "the server learns by it that a worker has ended",
    "SIGPIPE": "writes to closed connections raise it",
    "SIGSEGV": "a crash raises it",
    "SIGKILL": "it cannot be handled",
    "SIGSTOP": "it cannot be handled",
}


class Choice(Kind):
    """One of a few words.

    `True` and `False` are read as `on`/`enforce` and `off` where those are among them.
    """

    def __init__(self, *words: str) -> None:
        self.words = words

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        return " | ".join(self.words)

    def read(self, value: Any) -> str:
        """Return the word."""
        word = str(value).strip().lower()
        if word in ("false", "0", "no", "none") and "off" in self.words:
            word = "off"
        if word in ("true", "1", "yes", "on"):
            word = "on" if "on" in self.words else "enforce"
        for known in self.words:
            if known.lower() == word:
                return known
        raise ValueError(value)


class Yes(Kind):
    """True or False."""

    accepts = "true | false"

    def read(self, value: Any) -> bool:
        """Return the truth."""
        word = str(value).strip().lower()
        if word in ("true", "1", "yes", "on"):
            return True
        if word in ("false", "0", "no", "off"):
            return False
        raise ValueError(value)


class Text(Kind):
    """Any text."""

    accepts = "a text"

    def read(self, value: Any) -> str:
        """Return the text."""
        if not isinstance(value, str):
            raise ValueError(type(value).__name__)
        return value


HOST_OPTIONS = ("CONNECT_TIMEOUT", "READ_TIMEOUT", "TOTAL_TIMEOUT")


HOST_PATTERN = re.compile(r"^((\*\.)?[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(:\d{1,5})?$")


class Wrong(ValueError):
    """A `ValueError` whose message says which part of a larger value is wrong."""


class Hosts(Kind):
    """Limits by pattern of host: a mapping of mappings; JSON in the environment."""

    accepts = (
        '{"host[:port] or *.domain": {"TOTAL_TIMEOUT": seconds or None (no limit), ...}} with '
        + ", ".join(HOST_OPTIONS)
    )

    def read(self, value: Any) -> Dict[str, Dict[str, float]]:
        """Return the table with patterns and options in lower case."""
        table = json.loads(value) if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            raise ValueError(type(value).__name__)
        return {
            self._pattern(pattern): self._limits(pattern, limits)
            for pattern, limits in table.items()
        }

    def _pattern(self, pattern: Any) -> str:
        text = pattern.lower() if isinstance(pattern, str) else ""
        if not HOST_PATTERN.match(text):
            msg = f"{pattern!r} is not a host pattern"
            raise Wrong(msg)
        return text

    def _limits(self, pattern: str, limits: Any) -> Dict[str, float]:
        if not isinstance(limits, Mapping) or not limits:
            msg = f"{pattern!r} has no limits"
            raise Wrong(msg)
        for name in limits:
            if name not in HOST_OPTIONS:
                msg = f"{pattern!r} has the unknown option {name!r}"
                raise Wrong(msg)
        seconds = Seconds(above=0, none="no limit")
        return {name.lower(): seconds.read(limit) or math.inf for name, limit in limits.items()}
