"""Text from outside, made fit for a log line or a terminal.

A path, a host, an exception text or a thread's name may hold anything: a line feed forges a log
line, ESC drives the reader's terminal, a bidirectional control shows it in another order
than it is in.
"""

from __future__ import annotations

import re

LIMIT = 200
_CUT = "..."
REASON_LIMIT = 500  # of an exception that may list several mistakes

# user and password of a URL; a query string; what DSNs and headers call a secret. Quotes end them,
# so that JSON stays JSON. `re` compiles them when they are first used
_USERINFO = r"""(?i)([a-z][a-z0-9+.-]*://)[^\s/?#"'<>\\]*@"""
_QUERY = r"""\?[\w.%\[\]-]+=[^\s"'<>)\\]*"""
_NAMED = (
    r"""(?i)((?:password|passwd|passphrase|pwd|[_-]pass|secret|token|api[_-]?key)"""
    r"""(?:[_-](?:access[_-])?key)?[ \t]{0,9}=(?!=)[ \t]{0,9})"""
    r"""(?:'[^']*'|"[^"]*"|[^\s"'\\,;&)]+)"""
)
_CREDENTIALS = r"""\b((?:Bearer|Basic) +)[^\s"'\\,;]+"""


def printable(text: str, limit: int = LIMIT) -> str:
    """Return `text` on one line, with each character escaped that does not print as itself:
    controls, bidi, surrogates.

    At most `limit` characters, the end of a longer text replaced by `...`. What is all right is
    returned as it is; a backslash is left alone, so this is for reading, not for parsing.
    """
    if len(text) <= limit and text.isprintable():
        return text
    # each character becomes at least one: what is beyond the limit need not be escaped
    escaped = "".join([_escape(character) for character in text[: limit + 1]])
    return escaped if len(escaped) <= limit else escaped[: max(0, limit - len(_CUT))] + _CUT


def printable_lines(text: str, limit: int = LIMIT) -> str:
    """Return `text` with each of its lines made printable: for what has lines by nature, like
    stacks and tracebacks.

    Only use it where a reader can tell those lines from log lines, because they are indented or end
    the message.
    """
    return "\n".join([printable(line, limit) for line in text.split("\n")])


def one_line(text: str) -> str:
    """Return `text` of several lines as one: a list of mistakes after a colon, the lines of a
    message joined by `; `.

    For messages of exceptions, before `printable`, which would show their line feeds as escapes.
    """
    joined = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        entry = line.removeprefix("- ")
        joined += (" " if joined.endswith(":") else "; " if joined else "") + entry
    return joined


def redacted(text: str) -> str:
    """Return `text` without what looks like a secret: users and passwords in URLs, query strings,
    `password=...`, bearer tokens.

    Exception texts of clients and drivers hold URLs and DSNs. What does not look like one of these
    is not recognised.
    """
    if "=" in text:
        text = re.sub(_NAMED, r"\1***", re.sub(_QUERY, "?***", text))
    if "://" in text:
        text = re.sub(_USERINFO, r"\1***@", text)
    return re.sub(_CREDENTIALS, r"\1***", text)


def _escape(character: str) -> str:
    # isprintable() is false for the categories Other and Separator: controls, bidi and zero-width
    # ones, surrogates
    return (
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
    )
