"""uWSGI's placeholders: `$(ENV)`, `@(file)` and `%(option)`, replaced in three passes over all
options (core/utils.c, uwsgi_apply_config_pass; core/config.c, uwsgi_manage_placeholder).
"""

from __future__ import annotations

from typing import Callable, List, Mapping, NamedTuple, Optional, Tuple

from ..uwsgi_config import Option, leading_number

_MOST_REPLACEMENTS = 1000
_LONGEST = 1 << 16
# what a lookup returns: the text, or None to leave the placeholder as it is; whether it is certain
Found = Tuple[Optional[str], bool]
Lookup = Callable[[str], Found]


class Host(NamedTuple):
    """What is known of where uWSGI will run: nothing, unless the instance is running."""

    environ: Optional[Mapping[str, str]] = None
    magic: Optional[Mapping[str, str]] = None
    read_at: Optional[Callable[[str], Optional[str]]] = None  # the file of `@(file)`


def expand(
    options: List[Option],
    host: Host,
    *,
    complete: bool,
) -> List[Option]:
    """Return the options with their placeholders replaced.

    What is not known of the host leaves placeholders as they are, marked. Options that uWSGI reads
    at once (`listen`, `strict`) keep theirs, as in uWSGI.
    """
    expanded = list(options)
    if any("(" in option.value for option in options):
        for symbol, lookup in (
            ("$", _environment(host.environ)),
            ("@", _files(host.read_at)),
            ("%", _options(expanded, complete=complete)),
        ):
            for index, option in enumerate(expanded):
                if f"{symbol}(" in option.value and not is_immediate(option):
                    expanded[index] = _replaced(option, symbol, lookup)
    return expanded


def is_immediate(option: Option) -> bool:
    """Return whether uWSGI reads the option before it replaces placeholders."""
    return bool(option.known and "immediate" in option.known.flags)


def _environment(environ: Optional[Mapping[str, str]]) -> Lookup:
    if environ is None:
        return _unknown
    return lambda name: (environ.get(name), True)


def _files(read: Optional[Callable[[str], Optional[str]]]) -> Lookup:
    if read is None:
        return _unknown
    return lambda path: (read(path), True)


def _unknown(_name: str) -> Found:
    return None, False


def _options(options: List[Option], *, complete: bool) -> Lookup:
    def first(name: str) -> Found:
        for option in options:
            if option.name == name:
                return option.value, option.certain and option.resolved
        return None, complete

    return lambda key: _computed(key, first) if " " in key else first(key)


def _computed(key: str, first: Lookup) -> Found:
    """Return `%(a b + 1)`: each word joined to what was there, or added to it."""
    current, operator, certain = "", "", True
    started = False
    for word in key.split(" "):
        if not word:
            continue
        if word in ("+", "-", "*", "/"):
            operator = word
        elif word in ("++", "--"):
            if started:
                current = str(leading_number(current) + (1 if word == "++" else -1))
            operator = ""
        else:
            text, known = (word, True) if word.isdigit() else first(word)
            certain = certain and known
            current = _combined(current, operator, text or "")
            operator, started = "", True
    return (current, certain) if started else (None, certain)


def _combined(left: str, operator: str, right: str) -> str:
    if not operator:
        return left + right
    a, b = leading_number(left), leading_number(right)
    if operator == "/":
        return str(int(a / b)) if b and abs(a) < 1 << 53 else "0"
    return str({"+": a + b, "-": a - b, "*": a * b}[operator])


def _replaced(option: Option, symbol: str, lookup: Lookup) -> Option:
    """Return the option with each `symbol(...)` of its value replaced, those that come in with a
    replacement, too.
    """
    value, resolved, position = option.value, option.resolved, 0
    for _ in range(_MOST_REPLACEMENTS):
        start, end = _span(value, symbol, position)
        if end < 0:
            return option._replace(value=value, resolved=resolved)
        text, certain = lookup(value[start + 2 : end])
        resolved = resolved and certain
        if text is None:
            position = end + 1
            continue
        value = f"{value[:start]}{text}{value[end + 1 :]}"
        position = 1  # as uWSGI does: a placeholder that is the first again stays
        if len(value) > _LONGEST:
            return option._replace(value=value[:_LONGEST], resolved=False)
    return option._replace(value=value[:_LONGEST], resolved=False, endless=True)


def _span(value: str, symbol: str, position: int) -> Tuple[int, int]:
    """Return where the next placeholder that is not empty starts and ends; -1 if there is none."""
    while True:
        start = value.find(f"{symbol}(", position)
        if start < 0:
            return -1, -1
        depth = 0
        for index in range(start + 2, len(value)):
            if value[index] == "(":
                depth += 1
            elif value[index] == ")":
                if depth == 0:
                    break
                depth -= 1
        else:
            return -1, -1
        if index > start + 2:
            return start, index
        position = index + 1
