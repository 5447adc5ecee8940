"""Changes of one line of an ini file, for `--fix`."""

from __future__ import annotations

import re
from typing import Tuple

from ..model import Edit
from ..uwsgi_config import Option

_LINE = re.compile(r"\s*([\w-]+)\s*=.*[^\\]", re.DOTALL)  # and does not go on in the next one


def with_value(option: Option, value: str, comment: str = "") -> Tuple[Edit, ...]:
    """Return the change that gives an option a value, and puts a comment above it; nothing if the
    option does not stand on one line of an ini file.
    """
    place = option.location
    line = _LINE.fullmatch(place.text)
    if line is None or line[1] != option.name or (comment and not comment.startswith((";", "#"))):
        return ()
    above = f"{comment}\n" if comment else ""
    return (Edit(place.file, place.line, f"{above}{option.name} = {value}"),)
