"""The rules, in modules by what they look at; importing a module registers its rules."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Dict

from ..model import RULES, Rule


def load() -> Dict[str, Rule]:
    """Import every module of this package and return the rules by code."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return RULES
