"""Waits for threads: every worker exits in time, and every thread runs where it should."""

from .component import install, uninstall
from .periodic import every
from .registry import registry, sleep, stop_event, stopping
from .spawn import AlreadyStopping, spawn

__all__ = [
    "AlreadyStopping",
    "every",
    "install",
    "registry",
    "sleep",
    "spawn",
    "stop_event",
    "stopping",
    "uninstall",
]
