"""The command `resilient-wsgi`: one module for each verb."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
