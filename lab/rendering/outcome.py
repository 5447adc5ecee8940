"""One run of one incident, as far as it came: a result, or why there is none."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from lab.processes import ToolMissing

if TYPE_CHECKING:
    from lab.rendering.result import Result


@dataclass(frozen=True)
class Outcome:
    """`result` is None if the run was skipped or broke off; `words` then say why."""

    kind: str
    result: Result | None
    words: str
    broken: bool = False
    seconds: float = 0.0

    @property
    def as_described(self) -> bool:
        """Whether nothing went otherwise than it must; what was skipped did not."""
        return self.result.as_described if self.result else not self.broken


def attempt(run: Callable[[bool], Result], *, protected: bool) -> Outcome:
    """Run an incident once; a missing tool and an unexpected error become words."""
    kind = "with" if protected else "without"
    begin = time.monotonic()
    try:
        result = run(protected)
    except ToolMissing as missing:
        return Outcome(kind, None, f"skipped: {missing}")
    except Exception:
        return Outcome(kind, None, f"broke off: {traceback.format_exc(limit=-3)}", broken=True)
    return Outcome(kind, result, result.seen, seconds=time.monotonic() - begin)
