"""Where settings come from: arguments, then Django, then the environment, then the defaults; and
the mistakes in them.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from . import environment
from .options import OFF, PREFIX, SECTIONS, Option, Settings
from .section import options_of
from .types import InvalidPart

Raw = Mapping[str, Any]
Values = Dict[Tuple[str, str], Any]


class Found(NamedTuple):
    """The settings, with defaults in the place of mistakes, and the mistakes of each source."""

    settings: Settings
    environment: Tuple[str, ...] = ()
    django: Tuple[str, ...] = ()
    arguments: Tuple[str, ...] = ()

    def mistakes(self) -> Tuple[str, ...]:
        """Return all of them."""
        return self.environment + self.django + self.arguments


def find(
    arguments: Optional[Raw] = None,
    django: Optional[Raw] = None,
    environ: Optional[Mapping[str, str]] = None,
) -> Found:
    """Return the settings of the three sources, and the mistakes in them. Never raises.

    `arguments` and `django` are as in the docs: `{"OUTBOUND": {"TOTAL_TIMEOUT": 20}}`; a section
    may be the word of its mode (`{"OUTBOUND": "off"}`). An off switch in the environment wins over
    everything.
    """
    environ = os.environ if environ is None else environ
    if environment.whole(environ) == OFF:
        # the operator's way out: no mistake elsewhere keeps the app from starting
        return Found(_build({(section, "MODE"): OFF for section in SECTIONS}))
    in_environment: List[str] = []
    in_django: List[str] = []
    in_arguments: List[str] = []
    given = environment.read(environ, _read, in_environment)
    values = dict(given)
    values.update(_from_mapping(django, f"settings.{PREFIX}", in_django))
    values.update(_from_mapping(arguments, "install()", in_arguments))
    values.update(environment.overruled(environ, values, given))
    return Found(_build(values), tuple(in_environment), tuple(in_django), tuple(in_arguments))


def switched_off_by(section: str, environ: Optional[Mapping[str, str]] = None) -> str:
    """Return what has switched a section off, in words."""
    variable = environment.switch_of(os.environ if environ is None else environ, section)
    return f"{variable} in the environment" if variable else f"{section}.MODE is off"


def _build(values: Values) -> Settings:
    sections: Dict[str, Dict[str, Any]] = {}
    for (section, name), value in values.items():
        sections.setdefault(section, {})[name.lower()] = value
    return Settings(
        **{section.lower(): SECTIONS[section](**options) for section, options in sections.items()}
    )


def _from_mapping(raw: Optional[Raw], where: str, mistakes: List[str]) -> Values:
    values: Values = {}
    if raw is None:
        return values
    if not isinstance(raw, Mapping):
        mistakes.append(
            f"{where} is {raw!r}: it takes a dictionary of sections ({', '.join(SECTIONS)})"
        )
        return values
    for section, options in raw.items():
        if section not in SECTIONS:
            from .hints import section_like

            near = section_like(section)
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join(SECTIONS)}"
            mistakes.append(f"{where}: section {section!r} is not known; {hint}")
        elif isinstance(options, Mapping):
            _section(section, options, where, values, mistakes)
        elif isinstance(options, (str, bool)):
            _read(_mode_of(section), options, f"{where}[{section!r}]", values, mistakes)
        else:
            mistakes.append(
                f"{where}[{section!r}] is {options!r}: it takes a dictionary of options, or a mode"
            )
    return values


def _section(section: str, options: Raw, where: str, values: Values, mistakes: List[str]) -> None:
    known = {option.name: option for option in options_of(section)}
    for name, value in options.items():
        if name in known:
            _read(known[name], value, f"{where}[{section!r}][{name!r}]", values, mistakes)
            continue
        from .hints import option_like

        near = option_like(section, name)
        if near is None:
            hint = f"known are {', '.join(known)}"
        else:
            hint = f"did you mean {(near.name if near.section == section else near.path)!r}?"
        mistakes.append(f"{where}: option {name!r} of {section} is not known; {hint}")


def _read(option: Option, value: Any, where: str, values: Values, mistakes: List[str]) -> None:
    try:
        values[option.section, option.name] = option.kind.read(value)
    except ValueError as error:
        detail = f" ({error})" if isinstance(error, InvalidPart) else ""
        mistakes.append(f"{where} is {value!r}{detail}: it takes {option.kind.accepts}")


def _mode_of(section: str) -> Option:
    return next(option for option in options_of(section) if option.name == "MODE")
