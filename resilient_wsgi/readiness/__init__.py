"""Waits for an app: a worker that has none never answers, and comes back by itself."""

from __future__ import annotations

from .component import install, uninstall
from .loader import load

__all__ = ["install", "load", "uninstall"]
