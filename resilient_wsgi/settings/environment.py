"""Settings in environment variables: `RESILIENT_WSGI_OUTBOUND_TOTAL_TIMEOUT=20`, and
`RESILIENT_WSGI` for everything.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .section import OFF, PREFIX, REPORT, SECTIONS, Option, options_of, table

Environ = Mapping[str, str]
Values = Dict[Tuple[str, str], Any]
Read = Callable[[Option, Any, str, Values, List[str]], None]

ON = "on"
_WORDS = {
    **dict.fromkeys(("off", "0", "false", "no"), OFF),
    **dict.fromkeys(("on", "1", "true", "yes", "enforce", ""), ON),
    "report": REPORT,
}
_OURS = (PREFIX, f"{PREFIX}_APPLICATION")
# what Kubernetes and Docker set in containers beside a service that is called resilient-wsgi
_OF_A_SERVICE = re.compile(
    rf"{PREFIX}(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?|_NAME|_ENV_\w+)"
)


def whole(environ: Environ) -> Optional[str]:
    """Return what `RESILIENT_WSGI` sets for everything: on, report or off; None for other words."""
    return _WORDS.get(environ.get(PREFIX, "").strip().lower())


def switch_of(environ: Environ, section: str) -> str:
    """Return the variable that switches a section off, with its value, "" if none does."""
    for variable in (PREFIX, f"{PREFIX}_{section}", f"{PREFIX}_{section}_MODE"):
        value = environ.get(variable, "")
        if _WORDS.get(value.strip().lower()) == OFF:
            return f"{variable}={value}"
    return ""


def overruled(environ: Environ, values: Values, given: Values) -> Values:
    """Return the modes that the environment sets whatever the code says: it can only do less.

    `given` is what the environment sets for each section, which overrules `RESILIENT_WSGI=report`.
    """
    modes: Values = {(section, "MODE"): OFF for section in SECTIONS if switch_of(environ, section)}
    if whole(environ) == REPORT:
        for section in SECTIONS:
            mode = (section, "MODE")
            if mode not in modes and mode not in given and values.get(mode) != OFF:
                modes[mode] = REPORT
    return modes


def read(environ: Environ, read_one: Read, mistakes: List[str]) -> Values:
    """Return the settings in the environment; `read_one` reads a value by its option."""
    known = {option.variable: option for option in table()}
    for section in SECTIONS:
        known[f"{PREFIX}_{section}"] = known[f"{PREFIX}_{section}_MODE"]
    values: Values = {}
    for variable, value in environ.items():
        if variable in known:
            read_one(known[variable], value, f"{variable} in the environment", values, mistakes)
        elif variable == PREFIX:
            if whole(environ) is None:
                mistakes.append(_not_a_switch(value))
        elif _is_ours(variable):
            mistakes.append(f"{variable} in the environment is not known{_meant(variable, known)}")
    return values


def _is_ours(variable: str) -> bool:
    prefixed = variable.startswith(f"{PREFIX}_") and variable not in _OURS
    return prefixed and not _OF_A_SERVICE.fullmatch(variable)


def _not_a_switch(value: str) -> str:
    import difflib

    close = difflib.get_close_matches(value.strip().lower(), (ON, REPORT, OFF), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{PREFIX}={value!r} in the environment: it takes on | report | off{hint}"


def _meant(variable: str, known: Mapping[str, Option]) -> str:
    if variable == f"{PREFIX}_MODE":
        return (
            f"; {PREFIX}=report is a dry run of everything, {PREFIX}_<section>_MODE of one section"
        )
    section, _, name = variable[len(PREFIX) + 1 :].partition("_")
    if section in SECTIONS:
        return _of_section(section, name)
    # compared without what all of them begin with, or everything would be near
    names = [each[len(PREFIX) + 1 :] for each in known]
    import difflib

    close = difflib.get_close_matches(f"{section}_{name}", names, n=1, cutoff=0.8)
    if close:
        return f"; did you mean {f'{PREFIX}_{close[0]}'!r}?"
    from .hints import section_like

    near = section_like(section)
    hint = f"; did you mean section {near!r}?" if near else ""
    return f"{hint}; the sections are {', '.join(SECTIONS)}"


def _of_section(section: str, name: str) -> str:
    from .hints import option_like

    near = option_like(section, name)
    if near is not None:
        return f"; did you mean {near.variable!r}?"
    return f"; the options of {section} are {', '.join(o.name for o in options_of(section))}"
