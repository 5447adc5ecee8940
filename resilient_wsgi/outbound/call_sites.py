"""A place in the app that makes outbound calls without a timeout, or longer than the limits would
allow.
"""

from __future__ import annotations

from typing import Dict, Tuple

from ..core.record import Record
from ..core.text import printable

MOST_SITES = 1000


class Site(Record):
    """A line of the app (file:line), a host that it called, what is wrong with it, how often, the
    worst time in seconds.
    """

    site: str
    host: str
    problem: str
    count: int
    worst: float

    def plus(self, other: Site) -> Site:
        """Return both together, with the host of the first."""
        return self._replace(count=self.count + other.count, worst=max(self.worst, other.worst))

    def __str__(self) -> str:
        what = f"{printable(self.site)}: call to {printable(self.host)} {printable(self.problem)}"
        return f"{what}: {self.count} x, at worst {self.worst:.2f} s"


Sites = Dict[Tuple[str, str], Site]
"""By line and problem."""


def count(counted: Sites, site: Site) -> None:
    """Add a site to those that are counted already."""
    key = (site.site, site.problem)
    known = counted.get(key)
    counted[key] = site if known is None else known.plus(site)
