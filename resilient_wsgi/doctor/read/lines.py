"""A text and its lines, so that whatever a reader finds in it can be quoted."""

from __future__ import annotations

from bisect import bisect_right
from typing import List, Optional

from ..model import Location

MOST_BYTES = 1_000_000  # of files that people write by hand; nginx's and uWSGI's may be generated
MOST_QUOTED = 200  # characters of a line; the rest says nothing more


class Lines:
    """The lines of one text, counted from 1."""

    __slots__ = ("_starts", "file", "text")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._starts: Optional[List[int]] = None

    @property
    def too_long(self) -> str:
        """Why it is not looked at, if it is longer than people write by hand, else `""`."""
        if len(self.text) <= MOST_BYTES:
            return ""
        return f"{len(self.text)} characters, the limit is {MOST_BYTES}"

    def number(self, offset: int) -> int:
        """Return the line of a character, by its offset in the text."""
        return bisect_right(self._line_starts(), offset)

    def quote(self, line: int) -> str:
        """Return the text of a line without its end, `""` if there is no such line."""
        starts = self._line_starts()
        if not 0 < line <= len(starts):
            return ""
        end = starts[line] if line < len(starts) else len(self.text)
        return self.text[starts[line - 1] : end].rstrip("\r\n")[:MOST_QUOTED]

    def at(self, line: int) -> Location:
        """Return the location of a line."""
        return Location(self.file, line, self.quote(line))

    def _line_starts(self) -> List[int]:
        if self._starts is None:
            starts, at = [0], self.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.text.find("\n", at + 1)
            self._starts = starts
        return self._starts
