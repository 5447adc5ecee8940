"""The rules, in modules by what they look at; importing a module registers its rules."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from typing import Dict

from ..model import RULES, Rule


@lru_cache(maxsize=8)
def load(prefix: str = "") -> Dict[str, Rule]:
    """Import the modules of this package whose names start with `prefix`, all by default, and
    return the rules by code, with those that were imported before.
    """
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith(prefix):
            importlib.import_module(f"{__name__}.{module.name}")
    return RULES
