"""Command lines that start a server, wherever they stand: a unit, a manifest, an image, /proc.

What a shell would do with them is read, never done.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..model import Location

SERVERS = ("uwsgi", "gunicorn", "granian", "uvicorn", "hypercorn", "daphne", "waitress-serve",
           "celery", "nginx")  # fmt: skip
_SERVER = re.compile(r"^(?:py)?(" + "|".join(SERVERS) + r")(?:[-_.]?(?:core|python)?[\d.]*)$")
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_SHELLS = ("sh", "bash", "dash", "ash", "zsh")
# programs that run another one, and which of their options take a value
_WRAPPERS: Dict[str, Tuple[str, ...]] = {
    "exec": ("-a",), "env": ("-u", "-C", "-S"), "tini": ("-p", "-e"), "tini-static": ("-p", "-e"),
    "dumb-init": ("-r", "--rewrite"), "nice": ("-n",), "ionice": ("-c", "-n"), "time": (),
    "catchsegv": (), "setsid": (), "nohup": (), "command": (), "chpst": ("-u", "-o", "-m"),
    "newrelic-admin": (), "run-program": (), "ddtrace-run": (), "opentelemetry-instrument": (),
    "poetry": (), "pipenv": (), "uv": (), "pdm": (), "run": ("--env-file", "--group"),
    "resilient-wsgi": (), "stdbuf": ("-o", "-e", "-i"), "numactl": (), "authbind": (),
    "docker-entrypoint.sh": (), "entrypoint.sh": (),
}  # fmt: skip
_WRAPPERS_OF_A_USER = ("gosu", "su-exec", "setpriv", "chroot", "timeout")
_UWSGI_FILES = ("--ini", "-ini", "--ini-paste", "--ini-paste-logged", "--xml", "-x", "--yaml",
                "--yml", "-y", "--json", "-j", "--config")  # fmt: skip
_UWSGI_FILE = re.compile(r"^[^-].*\.(ini|xml|ya?ml|json)(:\w+)?$")
_BREAKS = (";", "{", "}", "then", "do", "else", "fi", "done", "esac")
_PUNCTUATION = frozenset(";&|()\n")
MOST_WORDS = 10_000
MOST_SUBSTITUTED = 100_000  # characters of a line in which `$(...)` is replaced
_SUBSTITUTION = re.compile(r"\$\(\([^()]*\)\)|\$\([^()]*\)|`[^`]*`")  # the innermost ones
_UNKNOWN = "$SUBSTITUTED"


class Command(NamedTuple):
    """A command that starts a server.

    `program` is one of `SERVERS`, `words` what follows it; `shell` is the shell that reads the
    line, if one does; `replaces` says that the server takes its place, so that signals reach it.
    """

    program: str
    words: Sequence[str]
    location: Location
    source: str = ""
    shell: str = ""
    replaces: bool = True
    environment: Dict[str, str] = {}  # noqa: RUF012 - never changed
    wrappers: Sequence[str] = ()

    def value(self, *names: str) -> Optional[str]:
        """Return the last value of an option given under one of these names, None without it."""
        found = None
        for n, word in enumerate(self.words):
            name, equals, value = word.partition("=")
            if name in names:
                if equals:
                    found = value
                elif n + 1 < len(self.words):
                    found = self.words[n + 1]
            elif not word.startswith("--") and word[:2] in names and len(word) > 2:
                found = word[2:]  # -w4
        return found

    def has(self, *names: str) -> bool:
        """Return whether one of these options is given."""
        return any(word.partition("=")[0] in names for word in self.words)

    def files(self) -> List[str]:
        """Return the configuration files that it names, without a section."""
        if self.program == "uwsgi":
            return [_without_section(each) for each in self._uwsgi_files()]
        named = self.value("-c", "--config")
        return [_without_section(named)] if named and self.program == "gunicorn" else []

    def _uwsgi_files(self) -> Iterator[str]:
        before = ""
        for word in self.words:
            name, equals, value = word.partition("=")
            if equals and name in _UWSGI_FILES:
                yield value
            elif before in _UWSGI_FILES or _is_positional(word, before):
                yield word
            before = word


def _is_positional(word: str, before: str) -> bool:
    """Return whether a word is a file of its own, not the value of the option before it."""
    is_value = before.startswith("--") and "=" not in before
    return _UWSGI_FILE.match(word) is not None and not is_value


def commands(line: str, location: Location, source: str = "", shell: str = "sh") -> List[Command]:
    """Return the servers that a line for a shell starts."""
    found = []
    parts = [each for each in _simple_commands(line) if each]
    for words in parts:
        command = _server_in(words, location, source)
        if command is not None:
            # bash and busybox replace themselves by the last command of a line; dash, Debian's sh,
            # does not
            last = (
                shell in ("bash", "ash")
                and words is parts[-1]
                and "|" not in line.replace("||", "")
            )
            replaces = "exec" in command.wrappers or last
            found.append(command._replace(shell=shell, replaces=replaces))
    return found


def command(words: Sequence[str], location: Location, source: str = "") -> List[Command]:
    """Return the servers that a list of words starts, through `sh -c`, too."""
    inner = _shell_line(words)
    if inner is not None:
        shell, line = inner
        return commands(line, location, source, shell)
    found = _server_in(list(words[:MOST_WORDS]), location, source)
    return [found] if found else []


def split(line: str) -> List[str]:
    """Return the words of a line as a shell splits them; by blanks if a quote is not closed."""
    try:
        return shlex.split(line)[:MOST_WORDS]
    except ValueError:
        return line.split()[:MOST_WORDS]


def _server_in(words: List[str], location: Location, source: str) -> Optional[Command]:
    environment: Dict[str, str] = {}
    wrappers: List[str] = []
    left = list(words)
    while left:
        word = left[0]
        name = posixpath.basename(word)
        if _ASSIGNMENT.match(word):
            key, _, environment[key] = word.partition("=")
            left.pop(0)
        elif re.match(r"^python[\d.]*$", name) and left[1:2] == ["-m"]:
            left[:2] = []
        elif _SERVER.match(name) and not word.startswith("-"):
            program = str(_SERVER.match(name)[1])  # type: ignore[index]
            return Command(program, left[1:], location, source, "", True, environment, wrappers)
        elif name in _WRAPPERS_OF_A_USER:
            wrappers.append(name)
            left = _after_options(left[1:], ("-s", "-k"))[1:]
        elif name in _WRAPPERS or _runs_what_follows(left):
            wrappers.append(name)
            left = _after_options(left[1:], _WRAPPERS.get(name, ()))
        else:
            return None
    return None


def _runs_what_follows(words: Sequence[str]) -> bool:
    """Return whether a program is given the command of a server behind `--`."""
    if "--" not in words:
        return False
    rest = words[words.index("--") + 1 :]
    return bool(rest) and _SERVER.match(posixpath.basename(rest[0])) is not None


def _after_options(words: List[str], with_value: Sequence[str]) -> List[str]:
    if "--" in words and _runs_what_follows(words):
        return words[words.index("--") + 1 :]
    left = list(words)
    while left and left[0].startswith("-"):
        option = left.pop(0)
        if option == "--":
            break
        if option in with_value and left:
            left.pop(0)
    return left


def _shell_line(words: Sequence[str]) -> Optional[Tuple[str, str]]:
    """Return the shell and the line in `sh -c LINE`, however it was started; None if none was."""
    for n, word in enumerate(words[:8]):
        if posixpath.basename(word) in _SHELLS:
            for m, option in enumerate(words[n + 1 : n + 6], n + 1):
                if re.match(r"^-[a-z]*c$", option) and m + 1 < len(words):
                    return posixpath.basename(word), words[m + 1]
            return None
    return None


def _simple_commands(line: str) -> Iterator[List[str]]:
    words: List[str] = []
    for word in _words(line):
        if word in _BREAKS:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def _words(line: str) -> List[str]:
    text = _without_substitutions(line.replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars="".join(_PUNCTUATION))
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True  # `:`, `$`, `{`, `,` are parts of words: 0.0.0.0:${PORT}
    lexer.commenters = ""
    found: List[str] = []
    try:
        for word in lexer:
            found.append(word)
            if len(found) >= MOST_WORDS:
                break
    except ValueError:  # a quote that is not closed
        return []
    return [";" if word and _PUNCTUATION.issuperset(word) else word for word in found]


def _without_substitutions(line: str) -> str:
    """Return a line with the same text for every `$(...)`, whose result nobody knows here."""
    before = ""
    while before != line and len(line) <= MOST_SUBSTITUTED:
        before, line = line, _SUBSTITUTION.sub(_UNKNOWN, line)
    return line


def _without_section(path: str) -> str:
    return re.sub(r"(\.\w+):\w+$", r"\1", path)
