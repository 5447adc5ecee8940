"""Waits for others: no outbound HTTP call outlives its limits, whatever the other side does."""

from .installing import install, means_now, uninstall
from .policy import timeouts, unlimited
from .report import Site, sites

__all__ = ["Site", "install", "means_now", "sites", "timeouts", "uninstall", "unlimited"]
