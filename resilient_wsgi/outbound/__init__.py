"""Waits for others: no outbound HTTP call outlives its limits, whatever the other side does."""

from .component import install, status_lines, uninstall
from .policy import timeouts, unlimited
from .report import sites
from .sites import Site

__all__ = ["Site", "install", "sites", "status_lines", "timeouts", "uninstall", "unlimited"]
