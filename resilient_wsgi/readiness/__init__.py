"""Waits for an app: a worker that has none never answers, and comes back by itself."""

from __future__ import annotations

from .checks import check
from .component import install, uninstall
from .loader import load
from .middleware import ReadinessMiddleware
from .status import drain

__all__ = ["ReadinessMiddleware", "check", "drain", "install", "load", "uninstall"]
