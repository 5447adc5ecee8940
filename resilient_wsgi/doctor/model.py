"""What a rule is and what it finds."""

from __future__ import annotations

import enum
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

if TYPE_CHECKING:
    from typing import Protocol, Union

    from .subject import Subject

    class Located(Protocol):
        """Something that was read from a file: an option, a directive, a configuration."""

        @property
        def location(self) -> Location:
            """Where it is."""

    Where = Union["Location", Located]

PAGES = "https://github.com/resilient-wsgi/resilient-wsgi/blob/main/docs/rules/"


class Severity(str, enum.Enum):
    """How much a finding matters.

    ERROR: it breaks or kills, as shown on a real server. WARNING: it hurts under failure. HINT:
    good to know.
    """

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


class Location(NamedTuple):
    """A line of a file that was looked at."""

    file: str
    line: int = 0  # 0: the file as a whole, or no file
    text: str = ""  # of the line

    @property
    def path(self) -> str:
        """The file on disk: `web.yaml` for `web.yaml#uwsgi.ini`, a file within a ConfigMap."""
        return self.file.partition("#")[0]

    @property
    def location(self) -> Location:
        """Return itself: a location may stand wherever something located may."""
        return self


class Edit(NamedTuple):
    """A change of one line that `--fix` may make."""

    file: str
    line: int
    text: Optional[str]  # None: delete the line


class Evidence(NamedTuple):
    """What a rule yields: where, and the facts compared."""

    location: Location
    message: str
    fix: str = ""  # "": that of the rule
    severity: Optional[Severity] = None  # None: that of the rule
    edits: Tuple[Edit, ...] = ()


class Finding(NamedTuple):
    """One thing that is wrong."""

    code: str
    severity: Severity
    location: Location
    message: str
    fix: str
    edits: Tuple[Edit, ...] = ()

    @property
    def url(self) -> str:
        """Return the address of the rule's page."""
        return f"{PAGES}{self.code}.md"

    def fields(self) -> Dict[str, object]:
        """Return what `--json` prints of it."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "file": self.location.file,
            "line": self.location.line,
            "message": self.message,
            "fix": self.fix,
            "url": self.url,
        }


def at(
    where: Where,
    message: str,
    *,
    fix: str = "",
    severity: Optional[Severity] = None,
    edits: Tuple[Edit, ...] = (),
) -> Evidence:
    """Return evidence at an option, a directive, a configuration or a location.

    The message starts with what is there and holds the numbers that were compared.
    """
    return Evidence(where.location, message, fix, severity, edits)


Check = Callable[["Subject"], Iterator[Evidence]]


class Rule(NamedTuple):
    """A rule with all that its page says."""

    code: str
    severity: Severity
    title: str
    check: Check
    why: str
    bad: Mapping[str, str]
    good: Mapping[str, str]
    fix: str
    sources: Tuple[str, ...]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """Yield what is wrong by this rule."""
        for each in self.check(subject):
            yield Finding(
                self.code,
                each.severity or self.severity,
                each.location,
                each.message,
                each.fix or self.fix,
                each.edits,
            )


RULES: Dict[str, Rule] = {}  # by code; filled by the modules in rules/ when they are imported


def rule(
    code: str,
    severity: Severity,
    title: str,
    *,
    why: str,
    bad: Mapping[str, str],
    good: Mapping[str, str],
    fix: str,
    sources: Tuple[str, ...],
) -> Callable[[Check], Check]:
    """Make a function a rule: it takes the subject and yields `at(...)` for each thing wrong.

    `bad` and `good` are files by name, printed on the rule's page and run by the tests. An entry
    named `machine` holds facts instead, one a line: `net.core.somaxconn = 128`, `uwsgi = 2.0.28`,
    `python = 3.13.1`, `uid = 0`.
    """

    def register(check: Check) -> Check:
        if code in RULES:
            msg = f"there are two rules {code}"
            raise ValueError(msg)
        RULES[code] = Rule(code, severity, title, check, why, bad, good, fix, sources)
        return check

    return register


def in_order(codes: Mapping[str, Rule]) -> List[Rule]:
    """Return rules in the order of their codes: U9 before U10."""
    return sorted(codes.values(), key=lambda each: (each.code[0], int(each.code[1:])))
