"""The syntax of nginx's configuration: words, quotes, blocks.

As nginx itself reads it (src/core/ngx_conf_file.c, ngx_conf_read_token). Each character is looked
at once, nothing recurs, and nothing is opened: the text may come from anywhere.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Optional

from ..model import Location
from .lines import Lines

# `}` ends a block only where a word may begin; `${` does not begin one
_TOKEN = re.compile(
    r"""
      (?P<blank> [ \t\r\n]+ | \#[^\n]* )
    | (?P<special> [;{}] )
    | "(?P<double> [^"\\]* (?: \\. [^"\\]* )* )"
    | '(?P<single> [^'\\]* (?: \\. [^'\\]* )* )'
    | (?P<word> (?: [^\s;{\\"'$]+ | \\. | \$\{? | (?<=[^\s;{}])["'] )+ )
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = {"t": "\t", "r": "\r", "n": "\n"}
# of Lua: a brace, or what may hold one and is none, a text or a comment. What does not end matches,
# too: else each quote would have the rest searched
_BRACE = re.compile(
    r"""(?:--)?\[\[[^\]]*(?:\]\])?|--[^\n]*"""
    r"""|"(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?|[{}]"""
)


class NotNginx(ValueError):
    """The text is no nginx configuration; `line` is where that was noticed."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


class Token(NamedTuple):
    """A word, or one of `;`, `{`, `}` if it is `special`; with its offset in the text."""

    text: str
    offset: int
    special: bool


class Directive:
    """A directive, its arguments, and what stands in its block; None if it has none."""

    __slots__ = ("_by_name", "args", "block", "found", "line", "lines", "name", "parent")

    def __init__(self, words: List[str], line: int, lines: Lines) -> None:
        self.name = words[0] if words else ""
        self.args = words[1:]
        self.line = line
        self.lines = lines
        self.block: Optional[List[Directive]] = None
        self.parent: Optional[Directive] = None
        self.found = True  # False: an `include` whose files are not known
        self._by_name: Optional[Dict[str, List[Directive]]] = None

    def __repr__(self) -> str:
        return f"<Directive {self.lines.file}:{self.line} {' '.join([self.name, *self.args])}>"

    @property
    def value(self) -> str:
        """The first argument, `""` if there is none."""
        return self.args[0] if self.args else ""

    @property
    def location(self) -> Location:
        """Where it stands."""
        return self.lines.at(self.line)

    @property
    def children(self) -> List[Directive]:
        """What stands in its block."""
        return self.block or []

    def own(self, name: str) -> List[Directive]:
        """Return the directives of that name directly in its block, once all files are read."""
        if self._by_name is None:  # thousands of locations look into the same `http` block
            self._by_name = {}
            for each in self.children:
                self._by_name.setdefault(each.name, []).append(each)
        return self._by_name.get(name, [])

    def walk(self) -> Iterator[Directive]:
        """Yield all directives in its block, and in the blocks therein, in order."""
        left = list(reversed(self.children))
        while left:
            each = left.pop()
            yield each
            left.extend(reversed(each.children))

    def ancestors(self) -> Iterator[Directive]:
        """Yield the blocks it stands in, the innermost first."""
        each = self.parent
        while each is not None:
            yield each
            each = each.parent

    @property
    def within_location(self) -> Optional[Directive]:
        """The innermost location it stands in, None outside of all."""
        return next((each for each in self.ancestors() if each.name == "location"), None)

    def inherited(self, name: str) -> List[Directive]:
        """Return the directives of that name that hold in its block: its own, else those of the
        innermost block around it that has any.

        So nginx merges what can be given more than once (`uwsgi_param`, `add_header`), too. The
        last is the one that counts for what can be given once.
        """
        for each in (self, *self.ancestors()):
            found = each.own(name)
            if found:
                return found
        return []


def parse(lines: Lines) -> Directive:
    """Return a directive without a name whose block is the text. Raises `NotNginx`."""
    return _Parser(lines).root


class _Parser:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.root = Directive([], 0, lines)
        self.root.block = []
        self.block = self.root
        words: List[str] = []
        start = 0
        for token in _tokens(lines):
            if token.special:
                self._special(token, words, start)
                words = []
                continue
            if not words:
                start = token.offset
            words.append(token.text)
        if words or self.block is not self.root:
            what = "unexpected end of file, expecting " + ('";"' if words else '"}"')
            raise NotNginx(what, lines.number(len(lines.text)))

    def _special(self, token: Token, words: List[str], start: int) -> None:
        if token.text == "}":
            if words or self.block is self.root:
                raise NotNginx('unexpected "}"', self.lines.number(token.offset))
            self.block = self.block.parent or self.root
            return
        if not words:
            if token.text == ";":  # nginx refuses it; harmless here
                return
            raise NotNginx('unexpected "{"', self.lines.number(token.offset))
        directive = Directive(words, self.lines.number(start), self.lines)
        directive.parent = self.block
        assert self.block.block is not None
        self.block.block.append(directive)
        if token.text == "{":
            directive.block = []
            self.block = directive


def _tokens(lines: Lines) -> Iterator[Token]:
    text, at, begins = lines.text, 0, ""
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise NotNginx("a quote or an escape that does not end", lines.number(at))
        kind, begin, at = str(found.lastgroup), at, found.end()
        if kind == "blank":
            continue
        word = found[kind]
        if kind == "special":
            if word == "{" and begins.endswith("_by_lua_block"):
                word, at = ";", _after_lua(text, at)
            begins = ""
            yield Token(word, begin, special=True)
            continue
        word = _ESCAPED.sub(_unescape, word) if "\\" in word else word
        begins = begins or word
        yield Token(word, begin, special=False)


def _unescape(found: re.Match[str]) -> str:
    char = found[1]
    if char in _PLAIN:
        return _PLAIN[char]
    return char if char in "\"'\\" else found[0]


def _after_lua(text: str, at: int) -> int:
    """Return where a block of Lua ends: what is in it is not nginx's."""
    depth = 1
    for found in _BRACE.finditer(text, at):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    return len(text)


def seconds(text: str) -> Optional[float]:
    """Return what a time of nginx is in seconds (`30`, `500ms`, `1m30s`), None if it is none."""
    if text.isdigit():
        return float(text)
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


_TIME = re.compile(r"(\d+)(ms|[smhdwMy])")
_UNITS = {
    "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000,
}  # fmt: skip


def size_bytes(text: str) -> Optional[int]:
    """Return what a size of nginx is in bytes (`16k`, `1m`, `8192`), None if it is none."""
    found = re.fullmatch(r"(\d{1,15})([kKmMgG]?)", text)
    if found is None:
        return None
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]
