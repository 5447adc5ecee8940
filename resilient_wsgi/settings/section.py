"""What a section of the settings is, and which there are: a class is a section, a field an option.

Defining an options class is all that it takes to have a section: it then can be set by `install()`,
by Django and by the environment, is checked, and documented in docs/settings.md.
"""

from __future__ import annotations

from typing import Any, ClassVar, Dict, Iterator, NamedTuple, Tuple, Type, TypeVar, cast

from ..core.record import Record
from .types import Choice, OptionType

PREFIX = "RESILIENT_WSGI"
ENFORCE, REPORT, OFF = "enforce", "report", "off"
MODE = Choice(ENFORCE, REPORT, OFF)

SECTIONS: Dict[str, Type[Section]] = {}
"""Every section by its name in the settings, in the order of definition."""


class Option(Record):
    """One row of the table of settings."""

    section: str
    name: str
    kind: OptionType
    default: Any
    unit: str
    sentence: str

    @property
    def path(self) -> str:
        """Return the name as it is written in messages: `OUTBOUND.TOTAL_TIMEOUT`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Return the environment variable that sets it."""
        return f"{PREFIX}_{self.section}_{self.name}"


class _Given(NamedTuple):
    """An option as it is defined in the class of its section."""

    default: Any
    kind: OptionType
    sentence: str
    unit: str


class Section(Record):
    """Base of the options of a component. `OUTBOUND` in the settings is `class Outbound(Section)`,
    `OUTBOUND.TOTAL_TIMEOUT` its field `total_timeout`.
    """

    section: ClassVar[str] = ""
    options: ClassVar[Tuple[Option, ...]] = ()
    mode: str = ENFORCE

    def in_apps(self, settings: Settings) -> bool:
        """Return whether the component has to be in apps that are wrapped."""
        del settings
        return self.mode != OFF

    def __init_subclass__(cls) -> None:
        """Register the section, and leave the defaults where the options were defined."""
        super().__init_subclass__()
        cls.section = cls.__name__.upper()
        given = {name: value for name, value in vars(cls).items() if isinstance(value, _Given)}
        cls.options = tuple(
            Option(cls.section, name.upper(), value.kind, value.default, value.unit, value.sentence)
            for name, value in given.items()
        )
        for name, value in given.items():
            setattr(cls, name, value.default)
        SECTIONS[cls.section] = cls

    @classmethod
    def forget(cls) -> None:
        """Undo the registration: for tests that define a section."""
        if SECTIONS.get(cls.section) is cls:
            del SECTIONS[cls.section]


S = TypeVar("S", bound=Section)


class Settings:
    """The options of all sections, read and checked: `settings.outbound`, `settings[Outbound]`."""

    __slots__ = ("_sections",)

    def __init__(self, **sections: Section) -> None:
        unknown = sections.keys() - {name.lower() for name in SECTIONS}
        if unknown:
            msg = f"unknown sections: {', '.join(sorted(unknown))}"
            raise TypeError(msg)
        self._sections: Dict[str, Section] = {
            name: sections.get(name.lower()) or cls() for name, cls in SECTIONS.items()
        }

    def __getitem__(self, cls: Type[S]) -> S:
        return cast("S", self._sections[cls.section])

    def __getattr__(self, name: str) -> Any:
        # by the mangling of names neither copy nor pickle may come here before there are sections
        if name == "_sections" or name.upper() not in self._sections:
            msg = f"there is no section {name.upper()}"
            raise AttributeError(msg)
        return self._sections[name.upper()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self._sections == other._sections

    def __hash__(self) -> int:
        return hash(tuple(self._sections))

    def __repr__(self) -> str:
        return f"Settings({', '.join(map(repr, self._sections.values()))})"


def option(default: Any, kind: OptionType, sentence: str, unit: str = "") -> Any:
    """Return what defines an option in the class of its section."""
    return _Given(default, kind, sentence, unit)


def mode(when_off: str) -> Any:
    """Return the field MODE, which each section has."""
    return option(
        ENFORCE,
        MODE,
        "What the component does: `enforce`; `report`, a dry run: log what would have happened, "
        f"change nothing; `off`: {when_off}",
    )


def options_of(section: str) -> Tuple[Option, ...]:
    """Return the options of a section, in the order in which they are defined."""
    return SECTIONS[section].options


def table() -> Iterator[Option]:
    """Return every option of every section."""
    for section in SECTIONS:
        yield from options_of(section)
