"""What a signal does to a master of uWSGI, and how long it may take to stop."""

from __future__ import annotations

from typing import Optional

from .uwsgi_config import UwsgiConfig

DEFAULT_MERCY = 60  # worker-reload-mercy, uWSGI 2.0.31, core/init.c
_NUMBERS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15}
STOPS, RELOADS = "stops", "reloads"


def effect(config: UwsgiConfig, signal: str) -> Optional[str]:
    """Return whether a signal stops an instance or reloads it, None if that is not certain.

    As uWSGI's master sets its handlers (core/master.c): with `die-on-term` TERM and QUIT change
    places.
    """
    name = signal.strip().upper()
    name = name.removeprefix("SIG")
    name = next((key for key, number in _NUMBERS.items() if name == str(number)), name)
    if config.runs_master() is not True or _hooked(config, name) or config.has("exit-on-reload"):
        return None
    if name in ("INT", "KILL"):
        return STOPS
    if name == "HUP":
        return RELOADS
    if name not in ("TERM", "QUIT"):
        return None
    if config.on("die-on-term"):
        return STOPS if name == "TERM" else RELOADS
    return (RELOADS if name == "TERM" else STOPS) if config.off("die-on-term") else None


def mercy_seconds(config: UwsgiConfig) -> Optional[int]:
    """Return how long the master waits for a worker that stops, None if it is not known."""
    return config.number("worker-reload-mercy", DEFAULT_MERCY)


def _hooked(config: UwsgiConfig, signal: str) -> bool:
    """Return whether a hook of the ini file decides what a signal does."""
    number = _NUMBERS.get(signal)
    hooks = (each for each in config.options if each.name.startswith("hook-"))
    return any(each.value.startswith(f"unix_signal:{number} ") for each in hooks)
