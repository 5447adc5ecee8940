"""uWSGI's magic variables: `%d` is the folder of the file, `%n` its name without extension ...

They are replaced in the whole file before it is parsed (core/utils.c, magic_sub); `%` with any
other letter is removed.
"""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, Optional, Tuple

# of the process and its host: what they are is known only where uWSGI runs
_OF_THE_HOST = "vhtTVkuUgGbijIJ"
_OF_THE_FILE = "odspcenx"  # in capitals: of the first file


class Magic:
    """The variables of one file."""

    def __init__(
        self,
        path: str,
        section: str = "",
        host: Optional[Mapping[str, str]] = None,
        first: Optional[Magic] = None,
    ) -> None:
        self.values = {**_of_file(path, section), **(host or {})}
        self._unknown = set(_OF_THE_HOST) - set(self.values)
        for letter in _OF_THE_FILE:
            self.values[letter.upper()] = (first or self).values[letter]

    def replace(self, text: str) -> Tuple[str, bool, bool]:
        """Return the text with variables replaced, whether all of them are known here, and whether
        the text ends in the middle of one.
        """
        if "%" not in text:
            return text, True, False
        parts: List[str] = []
        resolved, position = True, 0
        while True:
            found = text.find("%", position)
            if found < 0:
                return "".join([*parts, text[position:]]), resolved, False
            if found + 1 == len(text):
                return "".join([*parts, text[position:]]), resolved, True
            letter = text[found + 1]
            resolved = resolved and letter not in self._unknown
            parts += [text[position:found], self._value(letter)]
            position = found + 2

    def _value(self, letter: str) -> str:
        return f"%{letter}" if letter in self._unknown else self.values.get(letter, "")


def _of_file(path: str, section: str) -> Dict[str, str]:
    full = os.path.abspath(path)
    folder, name = os.path.split(full)
    stem, dot, extension = name.rpartition(".")
    values = {
        "%": "%",
        "(": "%(",
        "[": "\033",
        "o": path,
        "p": full,
        "s": name,
        "d": folder + "/",
        "c": os.path.basename(folder),
        "e": extension if dot else "",
        "n": stem if dot else name,
        "x": section,
    }
    parts = [part for part in folder.split("/") if part]
    values.update({str(index): part for index, part in enumerate(parts[:10])})
    return values
