"""Clients that are not there on every Python: the module, or None."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def _optional(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


httpx2 = _optional("httpx2")  # CPython 3.11
trio = _optional("trio")
aiohttp = _optional("aiohttp")
websocket = _optional("websocket")
