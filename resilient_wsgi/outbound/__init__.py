"""Waits for others: no outbound HTTP call outlives its limits, whatever the other side does."""

from __future__ import annotations

from ..core.lazy import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call_sites import Site
    from .component import install, status_lines, uninstall
    from .policy import timeouts, unlimited
    from .report import sites

__all__ = ["Site", "install", "sites", "status_lines", "timeouts", "uninstall", "unlimited"]

__getattr__ = names(
    __name__,
    {
        "Site": "call_sites",
        "install": "component",
        "sites": "report",
        "status_lines": "component",
        "timeouts": "policy",
        "uninstall": "component",
        "unlimited": "policy",
    },
)
