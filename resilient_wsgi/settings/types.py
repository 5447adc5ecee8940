"""The types of options: what each accepts, and how a value given in any of the sources is read.

A string is accepted wherever it can be read as a value, because the environment has only strings.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from ..core.record import Record

AUTO = "auto"
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class OptionType:
    """Base of the types of options."""

    @property
    def accepts(self) -> str:
        """Return what is accepted, in words that complete "it takes"."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """Return the value in its proper type; raise `ValueError` if it is not accepted."""
        raise NotImplementedError


class InvalidPart(ValueError):
    """A `ValueError` whose message says which part of a larger value is wrong."""


class _Number(Record, OptionType):
    """A number; None where `none` says what that means, `auto` where `auto` says it."""

    none: str = ""
    auto: str = ""

    def read(self, value: Any) -> Any:
        """Return the number, None, or AUTO."""
        word = str(value).strip().lower()
        if self.auto and word == AUTO:
            return AUTO
        if self.none and word in ("none", ""):
            return None
        return self.number(value)

    def number(self, value: Any) -> Any:
        """Return the number; raise `ValueError` if it is none that is accepted."""
        raise NotImplementedError

    def _with_words(self, number: str) -> str:
        auto = f"auto ({self.auto}), or " if self.auto else ""
        return auto + number + (f", or None ({self.none})" if self.none else "")


class Seconds(_Number):
    """A time in seconds: an int or a float, finite, 0 or more, or above `above`."""

    above: Optional[float] = None

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        bound = "above 0" if self.above == 0 else "0 or more"
        return self._with_words(f"a number of seconds, {bound}")

    def number(self, value: Any) -> float:
        """Return seconds as a float."""
        number = as_float(value)
        too_small = self.above is not None and number <= self.above
        if not math.isfinite(number) or number < 0 or too_small:
            raise ValueError(number)
        return number


class Integer(_Number):
    """An integer, `at_least` or more."""

    at_least: int = 0

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        return self._with_words(f"an integer, {self.at_least} or more")

    def number(self, value: Any) -> int:
        """Return the integer."""
        if isinstance(value, (bool, float)) or not isinstance(value, (int, str)):
            raise ValueError(type(value).__name__)
        number = int(value)
        if number < self.at_least:
            raise ValueError(number)
        return number


class Fraction(OptionType):
    """A part of a whole."""

    accepts = "a number from 0 to 1"

    def read(self, value: Any) -> float:
        """Return the number."""
        number = as_float(value)
        if not 0 <= number <= 1:
            raise ValueError(number)
        return number


class Names(OptionType):
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
                raise InvalidPart(msg)
        return patterns


class PathLimits(OptionType):
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


class Signal(OptionType):
    """The name of a real-time signal, counted from SIGRTMIN because its number differs between C
    libraries.

    All others are rejected, naming the conflict: the server uses them, or the interpreter does.
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
            raise InvalidPart(_conflict(name))
        raise ValueError(value)


def _conflict(name: str) -> str:
    if not name.startswith("SIG"):
        return f"{name} is a number: signals are named here, because numbers differ between systems"
    use = SERVER_SIGNALS.get(name, "the interpreter, the C library or an app may use it")
    return f"{name} is not free: {use}"


SERVER_SIGNALS = {
    "SIGHUP": "uWSGI and gunicorn reload by it",
    "SIGINT": "uWSGI and gunicorn stop by it",
    "SIGTERM": "uWSGI reloads or stops by it, gunicorn stops",
    "SIGQUIT": "uWSGI stops or reloads by it, gunicorn stops",
    "SIGUSR1": "uWSGI prints its statistics at it, gunicorn reopens its logs",
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


class Choice(OptionType):
    """One of a few words.

    `False` is read as `off`, `True` as `enforce`, where those are among them.
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
        if word in (*FALSE, "none"):
            word = "off"
        if word in TRUE:
            word = "enforce"
        for known in self.words:
            if known.lower() == word:
                return known
        raise ValueError(value)


class OptionalChoice(Choice):
    """One of a few words, or None, which means `none`."""

    def __init__(self, *words: str, none: str) -> None:
        super().__init__(*words)
        self._none = none

    @property
    def accepts(self) -> str:
        """Return what is accepted."""
        return f"{super().accepts} | None ({self._none})"

    def read(self, value: Any) -> Optional[str]:  # type: ignore[override]
        """Return the word, None for none."""
        return None if str(value).strip().lower() in ("none", "") else super().read(value)


class Boolean(OptionType):
    """True or False."""

    accepts = "true | false"

    def read(self, value: Any) -> bool:
        """Return the truth."""
        word = str(value).strip().lower()
        if word in TRUE:
            return True
        if word in FALSE:
            return False
        raise ValueError(value)


class AutoBoolean(OptionType):
    """True, False, or `auto`: as it suits the place."""

    accepts = f"{AUTO} | true | false"

    def read(self, value: Any) -> Union[bool, str]:
        """Return the truth, or AUTO."""
        return AUTO if str(value).strip().lower() == AUTO else Boolean().read(value)


class Text(OptionType):
    """Any text."""

    accepts = "a text"

    def read(self, value: Any) -> str:
        """Return the text."""
        if not isinstance(value, str):
            raise ValueError(type(value).__name__)
        return value


HOST_OPTIONS = ("CONNECT_TIMEOUT", "READ_TIMEOUT", "TOTAL_TIMEOUT")
HOST_PATTERN = re.compile(r"^((\*\.)?[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])(:\d{1,5})?$")


class Hosts(OptionType):
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
            raise InvalidPart(msg)
        return text

    def _limits(self, pattern: str, limits: Any) -> Dict[str, float]:
        if not isinstance(limits, Mapping) or not limits:
            msg = f"{pattern!r} has no limits"
            raise InvalidPart(msg)
        for name in limits:
            if name not in HOST_OPTIONS:
                msg = f"{pattern!r} has the unknown option {name!r}"
                raise InvalidPart(msg)
        seconds = Seconds(above=0, none="no limit")
        return {name.lower(): seconds.read(limit) or math.inf for name, limit in limits.items()}


class HostShares(Hosts):
    """Shares of the threads by pattern of host."""

    accepts = '{"host[:port] or *.domain": {"SHARE": a number from 0 to 1, "EXEMPT": true}}'

    def _limits(self, pattern: str, limits: Any) -> Dict[str, Any]:
        kinds: Dict[str, OptionType] = {"SHARE": Fraction(), "EXEMPT": Boolean()}
        if not isinstance(limits, Mapping) or not limits:
            msg = f"{pattern!r} has no options"
            raise InvalidPart(msg)
        for name in limits:
            if name not in kinds:
                msg = f"{pattern!r} has the unknown option {name!r}"
                raise InvalidPart(msg)
        return {name.lower(): kinds[name].read(value) for name, value in limits.items()}


def as_float(value: Any) -> float:
    """Return a number, given as one or as a string, as a float; raise `ValueError` for others."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(type(value).__name__)
    return float(value)
