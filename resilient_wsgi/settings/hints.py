"""The nearest valid name for one that is not known."""

from __future__ import annotations

import difflib
from typing import Any, Optional

from .section import SECTIONS, Option, options_of, table

# names that an option had, or might have, and that are not like the one it has
_ALIKE = {
    ("REQUEST", "SHED"): ("OVERLOAD", "MODE"),
    ("REQUEST", "MAX_QUEUE_WAIT"): ("OVERLOAD", "MAX_WAIT"),
    ("REQUEST", "QUEUE_HEADER"): ("OVERLOAD", "QUEUE_TIME_HEADER"),
    ("REQUEST", "QUEUE_TARGET"): ("OVERLOAD", "TARGET"),
    ("THREADS", "FUSE"): ("THREADS", "EXIT_TIMEOUT"),
}


def option_like(section: str, name: Any) -> Optional[Option]:
    """Return the option that was probably meant: of a longer name in this section, of that name in
    another one, or of a name like it in this one; None if there is none.
    """
    name = str(name).upper()
    by_name = {(option.section, option.name): option for option in table()}
    if (section, name) in _ALIKE:
        return by_name.get(_ALIKE[section, name])
    names = [option.name for option in options_of(section)]
    longer = [each for each in names if f"_{name}_" in f"_{each}_"]
    if longer:
        return by_name[section, longer[0]]
    for option in by_name.values():
        if option.name == name:
            return option
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return by_name[section, close[0]] if close else None


def section_like(name: Any) -> str:
    """Return the section that was probably meant, `""` if there is none."""
    close = difflib.get_close_matches(str(name).upper(), SECTIONS, n=1, cutoff=0.5)
    return close[0] if close else ""
