"""An argument parser that takes options between and after positional arguments, too.

Up to CPython 3.12, argparse takes an optional positional argument for absent as soon as an option
comes before it, and refuses `limit HOST --lift PID` (python/cpython#53780).
"""

from __future__ import annotations

import argparse

# not from typing: importing that takes an exec probe 2 ms
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional


class Parser(argparse.ArgumentParser):
    """Puts options before positional arguments, unless these are the rest of the line."""

    def parse_known_args(  # type: ignore[override]
        self, args: Optional[List[str]] = None, namespace: Any = None
    ) -> Any:
        """Parse as the base does."""
        positional = self._get_positional_actions()
        if args is not None and all(each.nargs in (None, "?") for each in positional):
            args = self._options_first(args)
        return super().parse_known_args(args, namespace)

    def _options_first(self, arguments: List[str]) -> List[str]:
        options: List[str] = []
        positional: List[str] = []
        rest = iter(arguments)
        for each in rest:
            if each == "--":
                return [*options, *positional, each, *rest]
            if not each.startswith("-"):
                positional.append(each)
                continue
            options.append(each)
            action = self._option_string_actions.get(each)
            if action is not None and action.nargs is None:  # its value comes next
                options += [value for value in (next(rest, None),) if value is not None]
        return options + positional
