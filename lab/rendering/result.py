"""What an experiment found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Tuple, Union

from lab.measuring.sampler import Series

Figure = Union[int, float, str, None]


@dataclass
class Result:
    """One run of one incident.

    `holds` are the statements that must be true of this run, each with its truth: of a run without the library,
    that the incident was seen as it is described; of one with it, that it did not happen.
    """

    incident: str
    protected: bool
    seen: str = ""
    figures: Dict[str, Figure] = field(default_factory=dict)
    excerpts: List[str] = field(default_factory=list)
    series: Series = field(default_factory=Series)
    holds: List[Tuple[str, bool]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """ "without" or "with"."""
        return "with" if self.protected else "without"

    @property
    def as_described(self) -> bool:
        """Whether every statement is true."""
        return all(truth for _, truth in self.holds)

    def check(self, statement: str, truth: object) -> None:
        """Put a statement and whether it is true on record."""
        self.holds.append((statement, bool(truth)))

    def add(self, part: Result) -> None:
        """Take over figures, excerpts and statements of a part that was run by itself."""
        self.figures.update(part.figures)
        self.excerpts += part.excerpts
        self.holds += part.holds

    def failures(self) -> List[str]:
        """Return the statements that are not true."""
        return [statement for statement, truth in self.holds if not truth]


def excerpt(log: str, *patterns: str, lines_each: int = 1) -> List[str]:
    """Return for each pattern the first lines of the log that hold it, as plain text."""
    found: List[str] = []
    for pattern in patterns:
        found += [line.strip()[:200] for line in log.splitlines() if pattern in line][:lines_each]
    return found
